"""Quality that listeners would give, as a network guesses it (DNSMOS P.835; the network comes in a wheel)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from infra.manifest import Manifest
from pipelines.evaluation.metrics import Column, Score, Utterance

if TYPE_CHECKING:
    from models.frozen.dnsmos import Quality


class Config(Manifest):
    """Nothing to set."""


def measure(utterances: Sequence[Utterance], cfg: Config) -> list[Column]:
    from models.frozen.dnsmos import Dnsmos

    network = Dnsmos(published=True)

    def judged(utterance: Utterance) -> "Quality | str":
        wave_S = utterance.at(Dnsmos.RATE_HZ)
        found = None if wave_S is None else network([wave_S])[0]
        return found or utterance.problem or "missing or empty"

    quality = [judged(utterance) for utterance in utterances]
    how = (
        f"DNSMOS P.835, 1 to 5, at 16 kHz, by the windows of dnsmos_local.py ({network.fingerprint}); "
        "a network's guess, made for noisy calls"
    )

    def column(name: str) -> Column:
        scores: list[Score] = [found if isinstance(found, str) else float(getattr(found, name)) for found in quality]
        return Column(name=f"dnsmos_{name}", scores=scores, better="higher", how=how)

    return [column(name) for name in ("overall", "signal", "background")]
