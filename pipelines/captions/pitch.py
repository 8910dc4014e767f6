"""Median pitch of a voice, by autocorrelation."""

import numpy as np
from numpy.typing import NDArray

from pipelines.row import Wave

RATE_HZ = 16000
FRAME, HOP = 800, 320


def pitch_hz(wave_S: Wave, *, lowest_hz: float, highest_hz: float, voicing: float) -> float | None:
    """Median pitch by autocorrelation of 50 ms frames (16 kHz); None without voiced frames.

    `voicing` is the normalized autocorrelation above which a frame is voiced. The autocorrelation is divided by that of
    the window, as Boersma (1993) has it, or long periods would lose.
    """
    frames = active_frames(wave_S)
    if not len(frames):
        return None
    window = np.hanning(FRAME)
    own = autocorrelation(window[np.newaxis])[0]
    found = autocorrelation((frames - frames.mean(axis=1, keepdims=True)) * window)
    normal = found / np.maximum(found[:, :1], 1e-12) / np.maximum(own / own[0], 1e-3)
    low, high = int(RATE_HZ / highest_hz), int(RATE_HZ / lowest_hz)
    part = normal[:, low : high + 1]
    best = part.max(axis=1)
    lags = (part >= 0.92 * best[:, np.newaxis]).argmax(axis=1)
    lags = np.array([climb(row, at=lag) for row, lag in zip(part, lags, strict=True)]) + low
    voiced = best >= voicing
    return float(np.median(RATE_HZ / lags[voiced])) if voiced.sum() >= 3 else None


def climb(row: NDArray[np.float64], *, at: int) -> int:
    """The top of the hill that `at` lies on, to the right: the first peak, not one at twice its period."""
    while at + 1 < len(row) and row[at + 1] > row[at]:
        at += 1
    return at


def active_frames(wave_S: Wave) -> NDArray[np.float64]:
    """Frames of 50 ms, each 20 ms, within 25 dB of the loudest."""
    if len(wave_S) < FRAME:
        return np.zeros((0, FRAME))
    frames = np.lib.stride_tricks.sliding_window_view(wave_S, FRAME)[::HOP].astype(np.float64)
    energy = np.square(frames).mean(axis=1)
    active: NDArray[np.float64] = frames[(energy >= energy.max() * 10**-2.5) & (energy > 1e-10)]
    return active


def autocorrelation(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row, by FFT, for lags below half a frame."""
    spectrum = np.fft.rfft(frames, n=2 * FRAME, axis=1)
    return np.asarray(np.fft.irfft(np.square(np.abs(spectrum)), axis=1)[:, : FRAME // 2])
