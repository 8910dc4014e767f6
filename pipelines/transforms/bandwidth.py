"""Where the spectrum ends, at the native rate; and whether it ends as if cut off (upsampled, or a codec's low-pass)."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infra.manifest import Manifest
from pipelines.row import Clip, Rejected, Wave
from pipelines.transforms import fingerprint_of

SETS = ("bandwidth_hz", "bandwidth_cliff")
READS: tuple[str, ...] = ()
CHANGES_WAVE = False

FFT_SECONDS = 0.0107
"""512 points at 48 kHz, as the estimator of Hi-Fi TTS 2 and NeMo Curator has it; scaled with the rate."""
HOP_SECONDS = 0.01
LOWEST_HZ = 100.0
"""Below it, hum would set the peak that everything is measured from."""
CLIFF_FROM_HZ = 3000.0
CLIFF_WIDTH_HZ = 500.0
CLIFF_ABOVE_FLOOR_DB = 80.0
NEAR_NYQUIST = 0.92
"""A fall above this share of half the rate is the converter's own filter: no cliff."""


class Config(Manifest):
    below_peak_db: float = Field(default=50.0, gt=0)
    """The spectrum ends at the highest frequency within this of its peak."""
    active_db: float = Field(default=30.0, gt=0)
    """Frames within this of the loudest count as speech; in the others there is only background to see."""
    cliff_db: float = Field(default=20.0, gt=0)
    """A fall by this much within 500 Hz is a cliff."""


class Transform:
    """Sets the effective bandwidth in Hz, and the cliff."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.fingerprint = fingerprint_of(__file__, cfg=cfg)

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> Clip:
        """None where there is nothing to measure."""
        spectrum = active_spectrum_db(clip.wave_S, rate_hz=clip.segment.rate_hz, active_db=self.cfg.active_db)
        if spectrum is None:
            return clip.with_(bandwidth_hz=None, bandwidth_cliff=None)
        hz, level_db = spectrum
        width = bandwidth_hz(hz, level_db, below_peak_db=self.cfg.below_peak_db)
        return clip.with_(
            bandwidth_hz=round(width, 1), bandwidth_cliff=has_cliff(hz, level_db, cliff_db=self.cfg.cliff_db)
        )


Axis = NDArray[np.float64]


def active_spectrum_db(wave_S: Wave, *, rate_hz: int, active_db: float) -> tuple[Axis, Axis] | None:
    """Mean power spectrum of the active frames, in dB from its peak; None for silence."""
    size = 1 << round(np.log2(FFT_SECONDS * rate_hz))
    if len(wave_S) < size or not np.abs(wave_S).max() > 0:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(wave_S, size)[:: max(1, round(HOP_SECONDS * rate_hz))]
    energy = np.square(frames, dtype=np.float64).mean(axis=1)
    active = frames[energy >= energy.max() * 10 ** (-active_db / 10)]
    power = np.square(np.abs(np.fft.rfft(active * np.hanning(size + 1)[:-1], axis=1))).mean(axis=0)
    hz = np.arange(len(power)) * rate_hz / size
    peak = power[hz >= LOWEST_HZ].max()
    return hz, 10 * np.log10(np.maximum(power / peak, 1e-12))


def reach_hz(wave_S: Wave, *, rate_hz: int, cfg: Config | None = None) -> float | None:
    """The effective bandwidth of a waveform; None where there is nothing to measure."""
    cfg = cfg or Config()
    spectrum = active_spectrum_db(wave_S, rate_hz=rate_hz, active_db=cfg.active_db)
    return None if spectrum is None else bandwidth_hz(*spectrum, below_peak_db=cfg.below_peak_db)


def bandwidth_hz(hz: Axis, level_db: Axis, *, below_peak_db: float) -> float:
    """Highest frequency whose level is within `below_peak_db` of the peak."""
    return float(hz[np.flatnonzero(level_db >= -below_peak_db)[-1]])


def has_cliff(hz: Axis, level_db: Axis, *, cliff_db: float) -> bool:
    """Does the level fall by `cliff_db` within 500 Hz, well below half the rate, and stay down?"""
    width = max(1, round(CLIFF_WIDTH_HZ / (hz[1] - hz[0])))
    after = np.maximum.accumulate(level_db[::-1])[::-1][width:]
    before, where = level_db[:-width], hz[:-width]
    inside = (where >= CLIFF_FROM_HZ) & (where + CLIFF_WIDTH_HZ <= NEAR_NYQUIST * hz[-1])
    return bool(np.any(inside & (before > -CLIFF_ABOVE_FLOOR_DB) & (before - after >= cliff_db)))
