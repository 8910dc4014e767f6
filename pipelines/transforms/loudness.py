"""How loud, how near to full scale, how clipped, and how far above its own background."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infra.manifest import Manifest
from pipelines.clip import Clip, Rejected
from pipelines.row import Wave
from pipelines.transforms import fingerprint_of

SETS = ("loudness_lufs", "peak", "clipped_ratio", "snr_db")
READS: tuple[str, ...] = ()
CHANGES_WAVE = False

LOUDNESS_BLOCK_SECONDS = 0.4
ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0
FRAME_SECONDS = 0.02
SILENCE = 1e-5
"""Peak (-100 dBFS) below which there is nothing to measure."""
HIGHEST_SNR_DB = 80.0


class Config(Manifest):
    noise_percentile: float = Field(default=10.0, gt=0, lt=50)
    """Frames of 20 ms at this percentile of energy stand for the background, those above the median for the speech."""


class Transform:
    """Sets loudness (ITU-R BS.1770, LUFS), peak, the share of clipped samples, and an SNR that needs no VAD."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.fingerprint = fingerprint_of(__file__, cfg=cfg)

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
            peak=round(float(np.abs(wave_S).max()), 6),
            clipped_ratio=round(clipped_ratio(wave_S), 8),
            snr_db=None if snr is None else round(snr, 2),
        )


def loudness_lufs(wave_S: Wave, *, rate_hz: int) -> float | None:
    """Integrated loudness; None for silence and for clips shorter than one block of 0.4 s."""
    if len(wave_S) < LOUDNESS_BLOCK_SECONDS * rate_hz or np.abs(wave_S).max() < SILENCE:
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
    from scipy.signal import sosfilt

    weighted_S = sosfilt(k_weighting(rate_hz), wave_S.astype(np.float64))
    size = LOUDNESS_BLOCK_SECONDS * rate_hz
    starts_B = 0.25 * np.arange(round((len(wave_S) / rate_hz - LOUDNESS_BLOCK_SECONDS) / 0.1) + 1)
    edges_B2 = (LOUDNESS_BLOCK_SECONDS * np.stack([starts_B, starts_B + 1]) * rate_hz).astype(int)
    edges, at_B2 = np.unique(np.minimum(edges_B2, len(wave_S)), return_inverse=True)
    between = np.add.reduceat(np.square(weighted_S[: edges[-1]]), edges[:-1])
    sums = np.concatenate([[0.0], np.cumsum(between)])
    start_B, end_B = at_B2.reshape(2, -1)
    return np.asarray((sums[end_B] - sums[start_B]) / size)


@lru_cache(maxsize=8)
def k_weighting(rate_hz: int) -> NDArray[np.float64]:
    """Both filters of BS.1770 as pyloudnorm designs them, to be run in one pass: [2, 6]."""
    from pyloudnorm import IIRfilter

    shelf = IIRfilter(4.0, 1 / np.sqrt(2), 1500.0, rate_hz, "high_shelf")
    high_pass = IIRfilter(0.0, 0.5, 38.0, rate_hz, "high_pass")
    return np.array([[*stage.b, *stage.a] for stage in (shelf, high_pass)])


def clipped_ratio(wave_S: Wave) -> float:
    """Share of samples at full scale, or in flat tops (3 or more samples alike) at the clip's own peak."""
    level = np.abs(wave_S)
    peak = float(level.max(initial=0.0))
    if peak < SILENCE:
        return 0.0
    flat = np.abs(np.diff(wave_S)) <= 1.5 / 32768 * peak
    top = (level[:-1] >= 0.98 * peak) & flat
    triples = np.zeros(len(wave_S), dtype=bool)
    inner = top[:-1] & top[1:]
    for shift in range(3):
        triples[shift : shift + len(inner)] |= inner
    return float(np.mean(triples | (level >= 0.9995)))


def frame_energies(wave_S: Wave, *, rate_hz: int) -> NDArray[np.float64]:
    """Mean square of each frame of 20 ms, around the mean of all: a constant in the signal is no sound."""
    size = max(1, round(FRAME_SECONDS * rate_hz))
    count = len(wave_S) // size
    frames = wave_S[: count * size].reshape(count, size) - (wave_S.mean(dtype=np.float64) if count else 0.0)
    return np.asarray(np.square(frames, dtype=np.float64).mean(axis=1))


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
