"""Naturalness as listeners of English listening tests would score it: UTMOS22 strong, from a checkpoint of yours."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infra.manifest import Device, Manifest
from pipelines.evaluation.metrics import Column, Score, Utterance, backend

if TYPE_CHECKING:
    from models.frozen.utmos import Utmos


class Config(Manifest):
    checkpoint: Path | None = None
    """utmos22_strong_step7459_v1.pt of SpeechMOS, or epoch=3-step=7459.ckpt of the authors' demo."""
    device: Device = "cpu"


def measure(utterances: Sequence[Utterance], cfg: Config) -> list[Column]:
    network: Utmos = backend("utmos", "judge", cfg.checkpoint, cfg.device)

    def score(utterance: Utterance) -> Score:
        wave_S = utterance.at(network.RATE_HZ)
        if wave_S is None or not len(wave_S):
            return utterance.problem or "missing or empty"
        found = network([wave_S])[0]
        return "shorter than one frame (25 ms)" if found is None else found

    how = f"UTMOS22 strong, 1 to 5, at 16 kHz ({network.fingerprint}); trained on English, other languages are shifted"
    return [Column(name="utmos", scores=[score(u) for u in utterances], better="higher", how=how)]
