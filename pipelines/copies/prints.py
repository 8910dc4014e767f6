"""Audio prints: what a sound is like, in 16 bits every 32 ms, that survive codecs, gain and resampling.

The sign of how the difference of neighboring bands changes over time, as in J. Haitsma and T. Kalker, "A highly robust
audio fingerprinting system", ISMIR 2002; with fewer bands and a longer step, for speech of a second and more. Measured
on 95 recordings: of a copy (MP3 64k, Opus 32k, gain, 16 kHz, cut by 0.3 s) at most 13 % of the bits differ, of another
clip at its most similar place at least 34 %.
"""

import base64

import numpy as np
from numpy.typing import NDArray

from pipelines.row import Wave

RATE_HZ = 8000
"""All that is heard lies below 3 kHz, so that telephone copies are found, too."""
WINDOW = 2048
"""256 ms: long against the hop, so that it does not matter where in a hop a copy begins."""
HOP = 256
STEP = 8
"""Hops between the two moments that are compared: they share no sample."""
BANDS = 17
LOWEST_HZ, HIGHEST_HZ = 250.0, 3000.0
FLOOR = 1e-9
"""Of the loudest band: below it there is nothing."""
BATCH = 2048
"""Frames at a time: bounds the memory."""

HOP_SECONDS = HOP / RATE_HZ
SHORTEST_SECONDS = (WINDOW + STEP * HOP) / RATE_HZ
"""What is shorter has no print."""

Words = NDArray[np.uint16]


def words_of(wave_S: Wave) -> Words:
    """The print of a waveform at RATE_HZ: one word a hop; none for what is shorter than SHORTEST_SECONDS."""
    if len(wave_S) < WINDOW + STEP * HOP:
        return np.zeros(0, dtype=np.uint16)
    frames = np.lib.stride_tricks.sliding_window_view(wave_S, WINDOW)[::HOP]
    window = np.hanning(WINDOW).astype(np.float32)
    edges = np.round(np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1) * WINDOW / RATE_HZ).astype(int)
    energy = np.concatenate(
        [band_energy(frames[start : start + BATCH] * window, edges) for start in range(0, len(frames), BATCH)]
    )
    level = np.log(energy + FLOOR * float(energy.max()) + 1e-30)
    slope = level[:, :-1] - level[:, 1:]
    bits = slope[STEP:] > slope[:-STEP]
    weights = (1 << np.arange(BANDS - 1)).astype(np.uint16)
    return np.asarray((bits * weights).sum(axis=1, dtype=np.uint16))


def band_energy(frames: NDArray[np.float32], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Energy of each frame in each band: (frames, BANDS)."""
    power = np.square(np.abs(np.fft.rfft(frames, axis=1)))
    return np.asarray(np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1), dtype=np.float64)


def to_text(words: Words) -> str:
    """As text, to be stored."""
    return base64.b64encode(words.astype("<u2").tobytes()).decode()


def from_text(text: str) -> Words:
    """What `to_text` made."""
    return np.frombuffer(base64.b64decode(text), dtype="<u2").astype(np.uint16)
