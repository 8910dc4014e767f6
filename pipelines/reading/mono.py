"""One channel of what is decoded, no higher than a given rate; block by block, so that memory follows what is kept."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.row import Wave

CANCEL_DB = 10.0
"""The mean of channels that is further below the loudest one says that they cancel, or that one alone has the speech:
of two channels that have nothing in common it is 3 dB below, of two of which one is empty 6 dB, of six 8 and 16 dB."""


@dataclass(frozen=True)
class Mono:
    """A waveform at the rate that is kept, and what was seen of it at its own rate."""

    wave_S: Wave
    samples: int
    """At its own rate."""
    low: float
    """Least and largest sample; NaN where one is no number."""
    high: float
    not_finite: int
    loudest: int | None
    """The channel to be taken instead, where the mean is more than CANCEL_DB below it."""


class Mixer:
    """Takes blocks [samples, channels] at one rate, and gives their mean, or one channel, at another that is no higher.

    What comes out does not depend on how the blocks are cut, and is what soxr makes of the whole.
    """

    def __init__(self, *, rate_hz: int, kept_hz: int, expected: int, channel: int | None) -> None:
        self.channel = channel
        self.sums: NDArray[np.float64] = np.zeros(0)
        self.squares: NDArray[np.float64] = np.zeros(0)
        """Over all samples: of every channel, and of their mean."""
        self.resampler: Any = None
        if kept_hz < rate_hz:
            import soxr

            self.resampler = soxr.ResampleStream(rate_hz, kept_hz, 1, dtype="float32")
        self.ratio = min(kept_hz / rate_hz, 1.0)
        self.wave_S: Wave = np.empty(math.ceil(expected * self.ratio), np.float32)
        self.filled = self.samples = self.not_finite = 0
        self.low, self.high = math.inf, -math.inf

    def add(self, block_SC: NDArray[np.float32]) -> None:
        """One more block."""
        if not len(block_SC):
            return
        if self.channel is not None or block_SC.shape[1] == 1:
            mono_S = np.ascontiguousarray(block_SC[:, self.channel or 0])
        else:
            mono_S = block_SC.mean(axis=1, dtype=np.float32)
            self.measure(block_SC, mono_S)
        self.samples += len(mono_S)
        self.low, self.high = float(np.minimum(self.low, mono_S.min())), float(np.maximum(self.high, mono_S.max()))
        if not math.isfinite(self.low + self.high):
            self.not_finite += int((~np.isfinite(mono_S)).sum())
        self.put(mono_S if self.resampler is None else self.resampler.resample_chunk(mono_S))

    def measure(self, block_SC: NDArray[np.float32], mono_S: Wave) -> None:
        """How loud the channels and their mean are."""
        if not len(self.sums):
            self.sums, self.squares = np.zeros(block_SC.shape[1] + 1), np.zeros(block_SC.shape[1] + 1)
        for number, level_S in enumerate([*block_SC.T, mono_S]):
            exact_S = level_S.astype(np.float64)
            self.sums[number] += exact_S.sum()
            self.squares[number] += exact_S @ exact_S

    def loudest(self) -> int | None:
        """See `Mono.loudest`. A constant is not loud."""
        if not len(self.sums):
            return None
        power_C = self.squares / self.samples - np.square(self.sums / self.samples)
        best = int(power_C[:-1].argmax())
        return best if power_C[-1] < power_C[best] * 10 ** (-CANCEL_DB / 10) else None

    def put(self, piece_S: Wave) -> None:
        """Keep samples; the array grows by half where they are more than was expected."""
        filled = self.filled + len(piece_S)
        if filled > len(self.wave_S):
            self.wave_S.resize(max(filled, self.filled * 3 // 2), refcheck=False)
        self.wave_S[self.filled : filled] = piece_S
        self.filled = filled

    def done(self) -> Mono:
        """All of it."""
        if self.resampler is not None and self.samples:
            self.put(self.resampler.resample_chunk(np.empty(0, np.float32), last=True))
        self.wave_S.resize(self.filled, refcheck=False)
        return Mono(self.wave_S, self.samples, self.low, self.high, self.not_finite, self.loudest())
