"""How loud, how near to full scale, how clipped, and how far above its own background."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infra.manifest import Manifest
from pipelines.clip import Clip, Rejected
from pipelines.hearing.k_weighting import k_weighted
from pipelines.row import Wave

SETS = ("loudness_lufs", "peak", "clipped_ratio", "snr_db")
READS: tuple[str, ...] = ()
CHANGES_WAVE = False

LOUDNESS_BLOCK_SECONDS = 0.4
ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0
FRAME_SECONDS = 0.02
SILENCE = 1e-5
"""Peak (-100 dBFS) below which there is nothing to measure."""
FULL_SCALE = 0.9995
TOP = 0.98
"""Of the peak: what is as high as this may be the flat top of a clipped wave."""
HIGHEST_SNR_DB = 80.0


class Config(Manifest):
    noise_percentile: float = Field(default=10.0, gt=0, lt=50)
    """Frames of 20 ms at this percentile of energy stand for the background, those above the median for the speech."""


class Transform:
    """Sets loudness (ITU-R BS.1770, LUFS), peak, the share of clipped samples, and an SNR that needs no VAD."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> Clip | Rejected:
        """All four, from the native waveform."""
        wave_S, rate_hz = clip.wave_S, clip.segment.rate_hz
        if not wave_S.size:
            return Rejected(segment=clip.segment, reason="dropped:empty")
        lufs = loudness_lufs(wave_S, rate_hz=rate_hz)
        snr = snr_db(wave_S, rate_hz=rate_hz, noise_percentile=self.cfg.noise_percentile)
        return clip.with_(
            loudness_lufs=None if lufs is None else round(lufs, 3),
            peak=round(peak_of(wave_S), 6),
            clipped_ratio=round(clipped_ratio(wave_S), 8),
            snr_db=None if snr is None else round(snr, 2),
        )


def loudness_lufs(wave_S: Wave, *, rate_hz: int) -> float | None:
    """Integrated loudness; None for silence and for clips shorter than one block of 0.4 s."""
    if len(wave_S) < LOUDNESS_BLOCK_SECONDS * rate_hz:
        return None
    mean_squares_B = block_mean_squares(wave_S, rate_hz=rate_hz)
    with np.errstate(divide="ignore"):  # blocks of digital silence
        lufs_B = -0.691 + 10 * np.log10(mean_squares_B)
    loud_B = lufs_B >= ABSOLUTE_GATE_LUFS
    if not loud_B.any():
        return None
    relative_gate = -0.691 + 10 * np.log10(mean_squares_B[loud_B].mean()) + RELATIVE_GATE_LU
    kept_B = (lufs_B > ABSOLUTE_GATE_LUFS) & (lufs_B > relative_gate)
    return float(-0.691 + 10 * np.log10(mean_squares_B[kept_B].mean())) if kept_B.any() else None


def block_mean_squares(wave_S: Wave, *, rate_hz: int) -> NDArray[np.float64]:
    """Of the K-weighted waveform: blocks of 0.4 s, 0.1 s after each other, their edges rounded as pyloudnorm does."""
    weighted_S = k_weighted(wave_S, rate_hz=rate_hz)
    size = LOUDNESS_BLOCK_SECONDS * rate_hz
    starts_B = 0.25 * np.arange(round((len(wave_S) / rate_hz - LOUDNESS_BLOCK_SECONDS) / 0.1) + 1)
    edges_B2 = (LOUDNESS_BLOCK_SECONDS * np.stack([starts_B, starts_B + 1]) * rate_hz).astype(int)
    edges, at_B2 = np.unique(np.minimum(edges_B2, len(wave_S)), return_inverse=True)
    pieces = (weighted_S[start:end] for start, end in pairwise(edges.tolist()))
    sums = np.cumsum([0.0, *(float(piece_S @ piece_S) for piece_S in pieces)])
    start_B, end_B = at_B2.reshape(2, -1)
    return np.asarray((sums[end_B] - sums[start_B]) / size)


def clipped_ratio(wave_S: Wave) -> float:
    """Share of samples at full scale, or in flat tops (3 or more samples alike) at the clip's own peak."""
    peak = peak_of(wave_S)
    if peak < SILENCE:
        return 0.0
    high = np.flatnonzero(np.abs(wave_S) >= min(TOP * peak, FULL_SCALE))
    level = np.abs(wave_S[high])
    clipped = np.zeros(len(wave_S), dtype=bool)
    clipped[high[level >= FULL_SCALE]] = True
    tops = high[(level >= TOP * peak) & (high < len(wave_S) - 1)]
    flat = tops[np.abs(wave_S[tops + 1] - wave_S[tops]) <= 1.5 / 32768 * peak]
    triples = flat[:-1][np.diff(flat) == 1]
    for shift in range(3):
        clipped[triples + shift] = True
    return np.count_nonzero(clipped) / len(wave_S)


def peak_of(wave_S: Wave) -> float:
    """The largest absolute value; 0 where there is no sample."""
    return max(float(wave_S.max()), -float(wave_S.min())) if wave_S.size else 0.0


def frame_energies(wave_S: Wave, *, rate_hz: int) -> NDArray[np.float64]:
    """Mean square of each frame of 20 ms, around the mean of all: a constant in the signal is no sound."""
    size = max(1, round(FRAME_SECONDS * rate_hz))
    frames = wave_S[: len(wave_S) // size * size].reshape(-1, size)
    if frames.size:
        frames = frames - wave_S.mean()
    return np.asarray(np.einsum("ij,ij->i", frames, frames), np.float64) / size


def snr_db(wave_S: Wave, *, rate_hz: int, noise_percentile: float) -> float | None:
    """Speech over background, 0 to 80 dB; None for silence and for clips of fewer than ten frames."""
    energies = frame_energies(wave_S, rate_hz=rate_hz)
    if len(energies) < 10 or energies.max() < SILENCE**2:
        return None
    noise = float(np.percentile(energies, noise_percentile))
    speech = float(energies[energies >= np.median(energies)].mean())
    if noise <= speech * 10 ** (-HIGHEST_SNR_DB / 10):
        return HIGHEST_SNR_DB
    return float(np.clip(10 * np.log10(max(speech - noise, noise * 1e-3) / noise), 0, HIGHEST_SNR_DB))
