"""Where the spectrum of speech ends, and how: at a cliff (a low-pass), or in a mirror image (a poor resampler's)."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.frozen import Wave

FFT_SECONDS = 0.0107
"""512 points at 48 kHz, as the estimator of Hi-Fi TTS 2 and NeMo Curator has it; scaled with the rate."""
HOP_SECONDS = 0.01
LOWEST_HZ = 100.0
"""Below it, hum would set the peak that everything is measured from."""
TONES_FROM_HZ = 1000.0
TONE_HZ = 850.0
"""Peaks narrower than half of this are no speech: line whine at 15.6 kHz, pilot tones."""
FLOOR_DB = -120.0
MODULATED_DB = 6.0
"""Speech is so much louder in its own frames than in the pauses; a constant background is not."""
MIN_PAUSE_SHARE = 0.05

CLIFF_FROM_HZ = 3000.0
CLIFF_WIDTH_HZ = 500.0
CLIFF_ABOVE_FLOOR_DB = 80.0
EDGE_DB = 10.0
SLOPE_HZ = 1500.0
"""Steep filters fall from their edge to 50 dB within this."""
NEAR_NYQUIST = 0.92
"""A fall above this share of half the rate is the converter's own filter: no cliff."""

RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000)
"""Rates that recordings are upsampled from."""
ROOM = 1.2
"""An image needs half the rate to lie this far above the fold."""
IMAGE_FRAMES = 100
IMAGE_FFT_SECONDS = 0.0213
IMAGE_BINS = (3, 24)
"""Bins on both sides of the fold that are compared: nearer ones touch, in farther ones the image is weak."""
EDGES, TYPICAL_EDGE = (0.84, 1.02), 0.965
"""Where the spectrum of an upsampled recording ends, over half the rate that it had."""
HIGHEST_BY_CLIFF_HZ = 24000
"""MP3 ends at 16 kHz where its rate is low; that is no recording of 32 kHz."""

Axis = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """Mean power of the frames with speech, in dB from its peak, and of the pauses between them from the same peak."""

    hz: Axis
    level_db: Axis
    pause_db: Axis | None
    """None where there are too few pauses."""


def spectrum_of(wave_S: Wave, *, rate_hz: int, active_db: float) -> Spectrum | None:
    """Frames within `active_db` of the loudest are speech; None for silence, and for less than a frame.

    A constant in the signal is taken off: it would be the peak, and make pauses as loud as speech.
    """
    size = 1 << round(np.log2(FFT_SECONDS * rate_hz))
    if len(wave_S) < size or not np.ptp(wave_S) > 0:
        return None
    wave_S = wave_S - wave_S.mean()
    frames = np.lib.stride_tricks.sliding_window_view(wave_S, size)[:: max(1, round(HOP_SECONDS * rate_hz))]
    energy = np.einsum("ij,ij->i", frames, frames)
    active = energy >= energy.max() * 10 ** (-active_db / 10)
    power, pauses = mean_powers(frames, of=np.stack([active, ~active]))
    hz = np.arange(len(power)) * rate_hz / size
    peak = power[hz >= LOWEST_HZ].max()
    enough = (~active).mean() >= MIN_PAUSE_SHARE
    return Spectrum(hz, decibels(power / peak, hz), decibels(pauses / peak, hz) if enough else None)


def mean_powers(frames: NDArray[np.float32], *, of: NDArray[np.bool_]) -> Axis:
    """Power spectra, Hann window, averaged over groups of frames: `of` [groups, frames] -> [groups, bins]; 0 where
    there is no frame."""
    from scipy.fft import rfft

    parts = rfft(frames * hann(frames.shape[1]), axis=1).view(np.float32)  # real, imaginary, real ...
    np.square(parts, out=parts)
    sums = (of.astype(np.float32) @ parts).astype(np.float64)
    return np.asarray((sums[:, ::2] + sums[:, 1::2]) / np.maximum(of.sum(axis=1, keepdims=True), 1))


@lru_cache(maxsize=16)
def hann(size: int) -> NDArray[np.float32]:
    """The window, periodic."""
    return np.hanning(size + 1)[:-1].astype(np.float32)


def decibels(ratio: Axis, hz: Axis) -> Axis:
    """In dB, no less than the floor, without narrow peaks above 1 kHz; a median keeps edges where they are."""
    from scipy.ndimage import median_filter

    level_db = 10 * np.log10(np.maximum(ratio, 10 ** (FLOOR_DB / 10)))
    width = max(1, round(TONE_HZ / (hz[1] - hz[0]))) | 1
    return np.where(hz >= TONES_FROM_HZ, median_filter(level_db, size=width, mode="nearest"), level_db)


def reach_hz(found: Spectrum, *, below_peak_db: float, cliffs: list[float]) -> float:
    """Highest frequency within `below_peak_db` of the peak.

    Where that lies at a cliff, or on its slope, the cliff's edge. Where a cliff comes farther above it and speech,
    though weaker, goes all the way up to it, that edge too: pauses must be quieter up there, for hiss is no speech.
    """
    reach = float(found.hz[np.flatnonzero(found.level_db >= -below_peak_db)[-1]])
    here = [edge for edge in cliffs if -SLOPE_HZ <= edge - reach <= CLIFF_WIDTH_HZ]
    if here:
        return here[-1]
    above = [edge for edge in cliffs if edge > reach]
    if above and found.pause_db is not None:
        between = (found.hz >= reach) & (found.hz <= above[0])
        if float(np.min((found.level_db - found.pause_db)[between])) >= MODULATED_DB:
            return above[0]
    return reach


def cliffs_of(found: Spectrum, *, cliff_db: float) -> list[float]:
    """Edges, in Hz, in rising order, at which the level falls by `cliff_db` within 500 Hz and stays down.

    The edge is the last place less than 10 dB below the level before the fall. Falls near half the rate do not count.
    """
    hz, level_db = found.hz, found.level_db
    width = max(1, round(CLIFF_WIDTH_HZ / (hz[1] - hz[0])))
    after = np.maximum.accumulate(level_db[::-1])[::-1][width:]
    before, where = level_db[:-width], hz[:-width]
    inside = (where >= CLIFF_FROM_HZ) & (where + CLIFF_WIDTH_HZ <= NEAR_NYQUIST * hz[-1])
    falls = np.flatnonzero(inside & (before > -CLIFF_ABOVE_FLOOR_DB) & (before - after >= cliff_db))
    starts = [int(run[0]) for run in np.split(falls, np.flatnonzero(np.diff(falls) > 1) + 1) if len(run)]
    edges = []
    for start in starts:
        high = np.flatnonzero(level_db[start : start + width + 1] >= level_db[start] - EDGE_DB)[-1]
        edges.append(float(hz[start + int(high)]))
    return edges


def source_of(wave_S: Wave, *, rate_hz: int, reach: float, cliffs: list[float], image: float) -> int | None:
    """The rate that the recording was upsampled from, the lowest that fits; None where nothing speaks for it.

    Either a mirror image is seen (see `mirrored`), or the spectrum ends at a cliff just below half of a usual rate.
    """
    lower = [source_hz for source_hz in RATES_HZ if rate_hz >= ROOM * source_hz]
    fits = [source_hz for source_hz in lower if source_hz <= HIGHEST_BY_CLIFF_HZ and fits_edge(reach, source_hz)]
    nearest = min(fits, key=lambda source_hz: abs(reach - TYPICAL_EDGE * source_hz / 2)) if fits else None
    by_cliff = nearest if reach in cliffs else None
    lower = [source_hz for source_hz in lower if by_cliff is None or source_hz < by_cliff]
    likeness = mirrored(bright_frames(wave_S, rate_hz=rate_hz), rate_hz=rate_hz, sources_hz=tuple(lower))
    return next((source_hz for source_hz, value in zip(lower, likeness, strict=True) if value >= image), by_cliff)


def fits_edge(edge_hz: float, source_hz: int) -> bool:
    """Would a recording of this rate end there?"""
    return EDGES[0] * source_hz / 2 <= edge_hz <= EDGES[1] * source_hz / 2


def bright_frames(wave_S: Wave, *, rate_hz: int) -> NDArray[np.float32]:
    """Up to 100 windowed frames of 21 ms in which high sounds are loudest, in order: [frames, samples]."""
    size = round(IMAGE_FFT_SECONDS * rate_hz)
    if len(wave_S) < 2 * size:
        return np.zeros((0, size), dtype=np.float32)
    step = size // 2
    slope = np.zeros(len(wave_S), np.float32)
    np.subtract(wave_S[1:], wave_S[:-1], out=slope[1:])
    steps = slope[: len(slope) // step * step].reshape(-1, step)
    blocks = np.einsum("ij,ij->i", steps, steps)
    frames = np.lib.stride_tricks.sliding_window_view(wave_S, size)[::step]
    energy = (blocks[:-1] + blocks[1:])[: len(frames)]
    chosen = np.sort(np.argsort(energy, kind="stable")[-IMAGE_FRAMES:])
    return np.asarray(frames[chosen] * hann(size))


def mirrored(frames: NDArray[np.float32], *, rate_hz: int, sources_hz: tuple[int, ...]) -> list[float]:
    """How much the spectrum above half of each rate is that below it, seen in a mirror: a correlation, -1 to 1.

    Poor filters leave such images above half of the old rate, the fold: bin for bin and frame for frame, the levels at
    equal distances from it rise and fall together, which they do in no real sound. Of both, what each bin and each
    frame has on average is taken off first. On real wideband sound at most 0.35, on images 0.7 up.
    """
    if not len(frames) or not sources_hz:
        return [0.0] * len(sources_hz)
    cosines, sines, counts = turns_around(sources_hz, rate_hz=rate_hz, size=frames.shape[1])
    first, last = frames[:, : len(cosines)], frames[:, : -len(cosines) - 1 : -1]
    power = np.square((first + last) @ cosines) + np.square((first - last) @ sines)
    level = 10 * np.log10(np.maximum(power, np.float32(1e-20)))
    sides = np.repeat(counts, 2)
    starts = np.cumsum(sides) - sides
    level -= np.repeat(np.add.reduceat(level, starts, axis=1) / sides.astype(np.float32), sides, axis=1)
    level -= level.mean(axis=0)
    by_side = np.split(level, starts[1:], axis=1)
    return [correlation(below, above) for below, above in zip(by_side[::2], by_side[1::2], strict=True)]


@lru_cache(maxsize=64)
def turns_around(
    sources_hz: tuple[int, ...], *, rate_hz: int, size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[int]]:
    """What a frame is multiplied by for its parts at equal distances around the folds, and how many distances each has.

    Seen from its middle, the cosines are the same on both sides and the sines opposite, so half of a frame is enough:
    the sums, and the differences, of samples that mirror each other.
    Shapes: [half of size, all distances below and above the first fold, of the second, ...], cosines and sines.
    """
    half = -(-size // 2)
    angle = 2 * np.pi / rate_hz * (np.arange(half)[:, np.newaxis] - (size - 1) / 2)
    at_hz, counts = [], []
    for fold_hz in (source_hz / 2 for source_hz in sources_hz):
        distance = np.arange(*IMAGE_BINS) / IMAGE_FFT_SECONDS
        distance = distance[distance < min(fold_hz, rate_hz / 2 - fold_hz)]
        at_hz += [fold_hz - distance, fold_hz + distance]
        counts.append(len(distance))
    turns = angle * np.concatenate(at_hz)
    cosines = np.cos(turns)
    if size % 2:
        cosines[-1] /= 2  # the middle is its own mirror
    return cosines.astype(np.float32), np.sin(turns).astype(np.float32), counts


def correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Of two arrays of mean 0."""
    norm = float(np.sqrt(float(np.vdot(one, one)) * float(np.vdot(other, other))))
    return float(np.vdot(one, other)) / norm if norm > 0 else 0.0
