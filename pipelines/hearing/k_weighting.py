"""The K-weighting of ITU-R BS.1770, computed in blocks as products of matrices.

A recursive filter goes from sample to sample, which is a quarter as fast: here a block of samples gives its part of
its own output, and moves a state of four numbers, from which the next blocks take theirs.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.row import Wave

BLOCK = 32
"""Samples, for every 48 kHz of the rate: longer ones take more multiplications; shorter ones more passes over memory,
and a constant in the sound then costs digits."""
ORDER = 4
FORGOTTEN = 1e-9
"""What is left of a state that no longer counts."""

Polynomial = NDArray[np.float64]


class Blocks(NamedTuple):
    """The filter at one rate: what a row of samples, or of states, is multiplied by."""

    direct: Wave
    """[samples, samples]: a block to its output, as after silence."""
    into_state: Wave
    """[samples, ORDER]: a block to what it adds to the state."""
    onward: Wave
    """[ORDER, ORDER]: a state to what it is a block later."""
    out_of_state: Wave
    """[ORDER, samples]: a state to its part of the output."""


def k_weighted(wave_S: Wave, *, rate_hz: int) -> Wave:
    """The waveform as loudness hears it: what the recursion gives, to 5e-7 of full scale."""
    blocks = in_blocks(rate_hz)
    size = len(blocks.direct)
    count = -(-len(wave_S) // size)
    samples = np.zeros((count, size), np.float32)
    samples.reshape(-1)[: len(wave_S)] = wave_S
    states = np.zeros((count, ORDER), np.float32)
    np.matmul(samples[:-1], blocks.into_state, out=states[1:])
    onward, step = blocks.onward, 1
    while step < count and np.abs(onward).max() > FORGOTTEN:  # of 1, 2, 4 ... blocks before
        states[step:] += states[:-step] @ onward
        onward, step = onward @ onward, 2 * step
    weighted = samples @ blocks.direct
    weighted += states @ blocks.out_of_state
    return weighted.reshape(-1)[: len(wave_S)]


@lru_cache(maxsize=8)
def in_blocks(rate_hz: int) -> Blocks:
    """From the impulse response: what a block leaves behind for the next one (a Hankel matrix) has the filter's order
    as its rank, so its singular vectors are a state that is well conditioned (Ho and Kalman)."""
    size = BLOCK * max(1, round(rate_hz / 48000))
    above, below = (np.polymul(*both) for both in zip(*biquads(rate_hz), strict=True))
    response = np.linalg.solve(delayed(below, 3 * size), delayed(above, 3 * size)[:, 0])
    lag = np.subtract.outer(np.arange(size), np.arange(size))
    left, weight, right = np.linalg.svd(response[size + lag])
    out_of_state = left[:, :ORDER].T
    onward = out_of_state @ response[2 * size + lag] @ right[:ORDER].T / weight[:ORDER]
    direct = np.where(lag >= 0, response[lag], 0.0)
    parts = (direct.T, (out_of_state @ response[size + lag]).T, onward.T, out_of_state)
    return Blocks(*(np.ascontiguousarray(part, np.float32) for part in parts))


def delayed(polynomial: Polynomial, count: int) -> NDArray[np.float64]:
    """[count, count]: multiplies a signal by a polynomial of the delay."""
    return np.asarray(sum(value * np.eye(count, k=-delay) for delay, value in enumerate(polynomial)))


def biquads(rate_hz: int) -> list[tuple[Polynomial, Polynomial]]:
    """Numerators and denominators of both filters, as pyloudnorm designs them: a high shelf of 4 dB at 1500 Hz, and a
    high-pass at 38 Hz (R. Bristow-Johnson's audio EQ cookbook). pyloudnorm itself imports all of scipy.signal, which
    would take every worker 0.4 s of processor time at its start."""
    turn = 2 * np.pi * 1500.0 / rate_hz
    gain, cosine, alpha = 10 ** (4.0 / 40), np.cos(turn), np.sin(turn) / np.sqrt(2)
    more, less, edge = gain + 1, gain - 1, 2 * np.sqrt(gain) * alpha
    shelf = (
        gain * np.array([more + less * cosine + edge, -2 * (less + more * cosine), more + less * cosine - edge]),
        np.array([more - less * cosine + edge, 2 * (less - more * cosine), more - less * cosine - edge]),
    )
    turn = 2 * np.pi * 38.0 / rate_hz
    cosine, alpha = np.cos(turn), np.sin(turn)
    high_pass = (
        (1 + cosine) / 2 * np.array([1.0, -2.0, 1.0]),
        np.array([1 + alpha, -2 * cosine, 1 - alpha]),
    )
    return [shelf, high_pass]
