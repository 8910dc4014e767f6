"""DNSMOS P.835: signal, background and overall quality, from the network in the speechmos wheel."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from models.frozen import Wave, at_level, fingerprint_of, onnx_session, wheel_file

WINDOW_SECONDS = 9.01
WINDOW = 144160
LEVEL_DBFS = -26.0
"""Speech level before scoring: the network calls quiet speech bad: 20 dB less cost 0.7."""
CALIBRATION = {
    "signal": (-0.08397278, 1.22083953, 0.0052439),
    "background": (-0.13166888, 1.60915514, -0.39604546),
    "overall": (-0.06766283, 1.11546468, 0.04602535),
}
"""Polynomials from raw outputs to the 1..5 scale, published with the network (DNS-Challenge, dnsmos_local.py)."""


@dataclass(frozen=True)
class Quality:
    """Mean opinion scores, 1 to 5."""

    signal: float
    background: float
    overall: float


class Dnsmos:
    """Quality of waveforms of any length: windows of 9.01 s each `hop_seconds`, shorter clips repeated to fill one.

    `published`: as dnsmos_local.py does it and tables have it: at the level that the waveform has, a window a second,
    what is after the last whole one left out, shorter clips doubled until they fill one. Four times the work.
    """

    RATE_HZ = 16000

    def __init__(self, *, hop_seconds: float = 4.0, published: bool = False) -> None:
        self.path = wheel_file("speechmos", "dnsmos_models", "sig_bak_ovr.onnx")
        self.published = published
        self.hop = max(1, round((1.0 if published else hop_seconds) * self.RATE_HZ))

    @property
    def fingerprint(self) -> str:
        """Version, weights, hop and level."""
        level = "own" if self.published else LEVEL_DBFS
        return fingerprint_of("dnsmos", package="speechmos", weights=[self.path], hop=self.hop, level=level)

    def __call__(self, waves: Sequence[Wave]) -> list[Quality | None]:
        """One score a waveform (16 kHz); None for one without a sample."""
        return [self.score(wave_S) if wave_S.size else None for wave_S in waves]

    def score(self, wave_S: Wave) -> Quality:
        """Mean over the windows of the calibrated scores."""
        if self.published:
            windows = published_windows(wave_S)
        else:
            wave_S = at_level(wave_S, dbfs=LEVEL_DBFS)
            if len(wave_S) < WINDOW:
                wave_S = np.resize(wave_S, WINDOW)
            starts = sorted({*range(0, len(wave_S) - WINDOW + 1, self.hop), len(wave_S) - WINDOW})
            windows = [wave_S[start : start + WINDOW] for start in starts]
        raw = np.stack([self._run(window_S) for window_S in windows])
        curves = zip(CALIBRATION.values(), raw.T, strict=True)
        signal, background, overall = (float(np.polyval(curve, column).mean()) for curve, column in curves)
        return Quality(signal=signal, background=background, overall=overall)

    def _run(self, window_S: Wave) -> Any:
        return self._session.run(None, {"input_1": window_S[np.newaxis].astype(np.float32)})[0][0]

    @cached_property
    def _session(self) -> Any:
        return onnx_session(self.path)


def published_windows(wave_S: Wave) -> list[Wave]:
    """The windows that dnsmos_local.py scores: one each second, by its own rounding of their ends.

    A window whose end is rounded down has a sample too few, and is left out there, as is what comes after the last.
    """
    while len(wave_S) < WINDOW:
        wave_S = np.append(wave_S, wave_S)
    hops = int(len(wave_S) // Dnsmos.RATE_HZ - WINDOW_SECONDS) + 1
    ends = [(hop * Dnsmos.RATE_HZ, int((hop + WINDOW_SECONDS) * Dnsmos.RATE_HZ)) for hop in range(hops)]
    return [wave_S[start:end] for start, end in ends if end - start == WINDOW and end <= len(wave_S)]
