"""Quality that listeners would give, as a network guesses it (DNSMOS P.835; the network comes in a wheel)."""

from collections.abc import Sequence

from infra.manifest import Manifest
from pipelines.evaluation.metrics import Column, Score, Utterance


class Config(Manifest):
    """Nothing to set."""


def measure(utterances: Sequence[Utterance], cfg: Config) -> list[Column]:
    from models.frozen.dnsmos import Dnsmos

    network = Dnsmos(published=True)
    waves = [utterance.at(Dnsmos.RATE_HZ) for utterance in utterances]
    quality = [None if wave_S is None else network([wave_S])[0] for wave_S in waves]
    how = (
        f"DNSMOS P.835, 1 to 5, at 16 kHz, by the windows of dnsmos_local.py ({network.fingerprint}); "
        "a network's guess, made for noisy calls"
    )

    def column(name: str) -> Column:
        scores: list[Score] = [
            (utterance.problem or "missing or empty") if found is None else float(getattr(found, name))
            for utterance, found in zip(utterances, quality, strict=True)
        ]
        return Column(name=f"dnsmos_{name}", scores=scores, better="higher", how=how)

    return [column(name) for name in ("overall", "signal", "background")]
