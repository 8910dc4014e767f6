"""Take noise off clips that need it; leave all others exactly as they are, and say which is which.

A network's opinion rises faster than what listeners understand, so a clip is enhanced only below a gate, a share of the
original stays in, and the original stays where too little is gained.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from pydantic import Field, field_validator

from infra.manifest import Manifest, resolve
from models.frozen import Wave
from pipelines.clip import Clip, Rejected
from pipelines.hearing.opinion import Opinion
from pipelines.transforms.bandwidth import ends, keeps_bandwidth
from pipelines.transforms.loudness import snr_db

SETS = ("enhanced", "enhancement_before", "enhancement_after")
READS: tuple[str, ...] = ()
CHANGES_WAVE = True

NOT_NEEDED = "no"


class Enhancer(Protocol):
    """A file of models/frozen that takes noise off speech: `enhancer(checkpoint, device=...)` makes one."""

    @property
    def RATE_HZ(self) -> int:  # noqa: N802
        """Of the waveforms that it takes and gives."""

    @property
    def fingerprint(self) -> str:
        """What decides its results."""

    def __call__(self, waves: Sequence[Wave]) -> list[Wave]:
        """One waveform each, in order, of the same length and place in time."""


class Config(Manifest):
    backend: str = "rnnoise"
    """`rnnoise` (48 kHz, in its wheel) or `speechbrain_enhance` (16 kHz, from a folder: only for clips as narrow)."""
    checkpoint: Path | None = None
    """Where the weights of the backend lie, for one that comes without."""
    device: Literal["cpu", "cuda"] = "cpu"
    utmos: Path | None = None
    """A checkpoint of UTMOS to judge by; DNSMOS judges where there is none, and the limits below are on its scale."""
    below_snr_db: float = 20.0
    """The cheap gate: clips further above their background are not even scored."""
    below_mos: float = 2.8
    """The gate: opinion below which a clip is enhanced. Clean read speech has 2.8 to 3.4; below, STOI gained 0.03."""
    min_gain: float = 0.1
    """Keep the original where the opinion gains less than this."""
    wet: float = Field(default=0.8, gt=0, le=1)
    """Share of the backend's output; the rest is the clip as it was."""
    max_bandwidth_loss: float = Field(default=0.15, ge=0, le=1)
    """Keep the original where the bandwidth falls, or would have to fall, by a greater share."""

    @field_validator("backend")
    @classmethod
    def known(cls, name: str) -> str:
        """The name is an enhancer in models/frozen."""
        if not hasattr(resolve("models.frozen", name), "enhancer"):
            raise ValueError(f"models/frozen/{name}.py enhances no speech")
        return name


class Transform:
    """Sets `enhanced` and both opinions, and changes the waveform where `enhanced` names a backend.

    Run it before other scores, for they are to be of the sound as it will be stored.
    """

    def __init__(self, cfg: Config) -> None:
        """Raises: WeightsError where weights are missing."""
        self.cfg = cfg
        self.opinion = Opinion(utmos=cfg.utmos, device=cfg.device)
        self.enhancer: Enhancer = resolve("models.frozen", cfg.backend).enhancer(cfg.checkpoint, device=cfg.device)
        self.fingerprint = f"{self.opinion.fingerprint}+{self.enhancer.fingerprint}"

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order; the backend hears those below the gate in one batch."""
        before = [self.before(clip) for clip in clips]
        below = [n for n, score in enumerate(before) if score is not None and score < self.cfg.below_mos]
        below = [number for number in below if self.fits(clips[number])]
        waves = self.enhancer([clips[number].at(self.enhancer.RATE_HZ) for number in below]) if below else []
        made = dict(zip(below, waves, strict=True))
        return [self.decide(clip, before[number], made.get(number)) for number, clip in enumerate(clips)]

    def before(self, clip: Clip) -> float | None:
        """The opinion of a clip that does not stand well above its background."""
        snr = snr_db(clip.wave_S, rate_hz=clip.segment.rate_hz, noise_percentile=10.0)
        return None if snr is None or snr >= self.cfg.below_snr_db else self.opinion(clip)

    def fits(self, clip: Clip) -> bool:
        """Can the backend carry the band of the clip?"""
        found = ends(clip.wave_S, rate_hz=clip.segment.rate_hz)
        return found is None or (1 - self.cfg.max_bandwidth_loss) * found[0] <= self.enhancer.RATE_HZ / 2

    def decide(self, clip: Clip, before: float | None, wave_S: Wave | None) -> Clip:
        """The enhanced clip where it is better by enough and as wide as before."""
        if before is not None:
            clip = clip.with_(enhancement_before=round(before, 4))
        if before is None or wave_S is None:
            return clip.with_(enhanced=NOT_NEEDED)
        cfg = self.cfg
        fitted_S = clip.fitted(wave_S, rate_hz=self.enhancer.RATE_HZ)
        mixed_S = np.float32(cfg.wet) * fitted_S + np.float32(1 - cfg.wet) * clip.wave_S
        better = clip.with_(mixed_S, enhanced=f"{cfg.backend}-{cfg.wet:g}")
        after = self.opinion(better)
        if after < before + cfg.min_gain or not keeps_bandwidth(clip, better, max_loss=cfg.max_bandwidth_loss):
            better = clip.with_(enhanced=NOT_NEEDED)
        return better.with_(enhancement_after=round(after, 4))
