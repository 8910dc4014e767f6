"""Find clips with music or loud noise in them, and take the voice out of it where a separator is at hand.

Without one, such clips are dropped or passed as the manifest says. Run it before other scores: it may change the sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from pydantic import Field, field_validator, model_validator

from infra.manifest import Manifest, resolve
from pipelines.clip import Clip, Rejected
from pipelines.hearing.background import RATE_HZ, Background, Listener
from pipelines.hearing.opinion import Opinion
from pipelines.row import Wave
from pipelines.transforms.bandwidth import keeps_bandwidth

SETS = ("music_ratio", "singing_ratio", "noise_ratio", "separated", "separation_residual", "separation_gain")
READS: tuple[str, ...] = ()
CHANGES_WAVE = True

NOT_NEEDED, PASSED = "no", "passed"


class Separator(Protocol):
    """A file of models/frozen that takes the voice out of a mixture: `separator(checkpoint, device=...)` makes one."""

    @property
    def RATE_HZ(self) -> int:  # noqa: N802
        """Of the waveforms that it takes and gives."""

    @property
    def fingerprint(self) -> str:
        """What decides its results."""

    def __call__(self, waves: Sequence[Wave]) -> list[Wave]:
        """One voice a waveform, in order, of the same length."""


class Config(Manifest):
    event: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which a frame has music or singing in it."""
    noise_db: float = Field(default=15.0, gt=0)
    """Background is loud where it is less than this below the speech."""
    max_music: float = Field(default=0.3, ge=0, le=1)
    """The gate: more music than this, of the clip, is too much."""
    max_singing: float = Field(default=0.6, ge=0, le=1)
    """Lively speech is taken for song in places, so this is higher."""
    max_noise: float = Field(default=0.3, ge=0, le=1)
    backend: str | None = None
    """`demucs`, or none: the gate alone."""
    checkpoint: Path | None = None
    """Where the weights of the backend lie."""
    device: Literal["cpu", "cuda"] = "cpu"
    otherwise: Literal["pass", "drop"] = "pass"
    """What becomes of a clip over the gate that no backend makes better."""
    utmos: Path | None = None
    """A checkpoint of UTMOS to judge by; DNSMOS judges where there is none."""
    min_gain: float = 0.1
    """Keep the original where the predicted opinion gains less than this."""
    max_bandwidth_loss: float = Field(default=0.15, ge=0, le=1)
    """Keep the original where the bandwidth falls by a greater share."""

    @field_validator("backend")
    @classmethod
    def known(cls, name: str | None) -> str | None:
        """The name is a separator in models/frozen."""
        if name is not None and not hasattr(resolve("models.frozen", name), "separator"):
            raise ValueError(f"models/frozen/{name}.py separates no voice")
        return name

    @model_validator(mode="after")
    def _whole(self) -> "Config":
        if self.checkpoint is not None and self.backend is None:
            raise ValueError("a checkpoint needs a backend to load it; name one (demucs)")
        return self


@dataclass(frozen=True)
class Screened:
    """What is in a clip, and why that is too much."""

    background: Background
    too_much: str | None


class Transform:
    """Sets the shares of music, singing and noise, and what was done about them."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.listener = Listener(event=cfg.event, margin_db=cfg.noise_db)
        self.opinion = Opinion(utmos=cfg.utmos, device=cfg.device)
        self.separator: Separator | None = None
        asked = list(self.listener.fingerprints)
        if cfg.backend is not None:
            self.separator = resolve("models.frozen", cfg.backend).separator(cfg.checkpoint, device=cfg.device)
            asked += [self.separator.fingerprint, self.opinion.fingerprint]
        self.fingerprint = "+".join(asked)

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order; the separator hears those over the gate in one batch."""
        heard = [self.listen(clip) for clip in clips]
        over = [number for number, item in enumerate(heard) if item.too_much]
        voices: dict[int, Wave] = {}
        if self.separator is not None and over:
            waves = self.separator([clips[number].at(self.separator.RATE_HZ) for number in over])
            voices = dict(zip(over, waves, strict=True))
        return [self.decide(clip, heard[number], voices.get(number)) for number, clip in enumerate(clips)]

    def listen(self, clip: Clip) -> Screened:
        """The gate: the first share that is over its limit, in words."""
        found = self.listener(clip.at(RATE_HZ))
        shares = (("music", found.music, self.cfg.max_music), ("singing", found.singing, self.cfg.max_singing))
        for name, share, most in (*shares, ("noise", found.noise, self.cfg.max_noise)):
            if share > most:
                return Screened(found, f"{name}: in {share:.0%} of it, and at most {most:.0%} is let by")
        return Screened(found, None)

    def decide(self, clip: Clip, heard: Screened, voice_S: Wave | None) -> Clip | Rejected:
        """The clip as it is, its voice where that is better by enough, or the reason why it is dropped."""
        found = heard.background
        clip = clip.with_(
            music_ratio=round(found.music, 4), singing_ratio=round(found.singing, 4), noise_ratio=round(found.noise, 4)
        )
        if heard.too_much is None:
            return clip.with_(separated=NOT_NEEDED)
        if voice_S is not None:
            assert self.separator is not None
            assert self.cfg.backend is not None
            fitted_S = clip.fitted(voice_S, rate_hz=self.separator.RATE_HZ)
            better = clip.with_(fitted_S, separated=self.cfg.backend)
            residual = round(residual_ratio(clip.wave_S, fitted_S), 4)
            gain = round(self.opinion(better) - self.opinion(clip), 4)
            if gain >= self.cfg.min_gain and keeps_bandwidth(clip, better, max_loss=self.cfg.max_bandwidth_loss):
                return better.with_(separation_residual=residual, separation_gain=gain)
            clip = clip.with_(separation_residual=residual, separation_gain=gain)
        clip = clip.with_(separated=PASSED)
        if self.cfg.otherwise == "drop":
            return Rejected(segment=clip.segment, reason=f"dropped:{heard.too_much}")
        return clip


def residual_ratio(wave_S: Wave, voice_S: Wave) -> float:
    """Energy of what was taken away, over that of the whole."""
    whole = float(np.square(wave_S, dtype=np.float64).sum())
    return float(np.square(wave_S - voice_S, dtype=np.float64).sum()) / max(whole, 1e-12)
