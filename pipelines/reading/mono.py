"""One channel of what is decoded, no higher than a given rate; block by block, so that memory follows what is kept."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.row import Wave


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


class Mixer:
    """Takes blocks [samples, channels] at one rate, and gives their mean at another that is no higher.

    What comes out does not depend on how the blocks are cut, and is what soxr makes of the whole.
    """

    def __init__(self, *, rate_hz: int, kept_hz: int, expected: int) -> None:
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
        mono_S = block_SC.mean(axis=1, dtype=np.float32)
        self.samples += len(mono_S)
        self.low, self.high = float(np.minimum(self.low, mono_S.min())), float(np.maximum(self.high, mono_S.max()))
        if not math.isfinite(self.low + self.high):
            self.not_finite += int((~np.isfinite(mono_S)).sum())
        self.put(mono_S if self.resampler is None else self.resampler.resample_chunk(mono_S))

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
        return Mono(self.wave_S, self.samples, self.low, self.high, self.not_finite)
