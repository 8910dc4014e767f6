"""How natural it sounds to the listeners of English listening tests: UTMOS22 strong, from a checkpoint of yours.

Scores of other languages are shifted: set thresholds a language, from an anchor corpus (`stipple corpus calibrate`).
Where there is no checkpoint, leave it out: `mos` works without one.
"""

from pathlib import Path
from typing import Literal

from infra.manifest import Manifest
from models.frozen.utmos import judge
from pipelines.clip import Clip, Rejected

SETS = ("utmos",)
READS: tuple[str, ...] = ()
CHANGES_WAVE = False


class Config(Manifest):
    checkpoint: Path | None = None
    """utmos22_strong_step7459_v1.pt of SpeechMOS, or epoch=3-step=7459.ckpt of the authors' demo."""
    device: Literal["cpu", "cuda"] = "cpu"


class Transform:
    """Sets `utmos`, 1 to 5; None for a clip shorter than 25 ms."""

    def __init__(self, cfg: Config) -> None:
        """Raises: WeightsError where there is no checkpoint."""
        self.model = judge(cfg.checkpoint, device=cfg.device)
        self.fingerprint = self.model.fingerprint

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        scores = self.model([clip.at(self.model.RATE_HZ) for clip in clips])
        return [
            clip.with_(utmos=None if score is None else round(score, 4))
            for clip, score in zip(clips, scores, strict=True)
        ]
