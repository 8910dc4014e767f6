"""Distance of a reconstruction from its input: mean difference of log10 mel spectra at several window lengths."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infra.manifest import Manifest
from pipelines.evaluation.metrics import Column, Score, Utterance, pair_at
from pipelines.row import Wave

WINDOWS = {512: 32, 1024: 64, 2048: 80}
"""Window in samples -> mel bands; hop is a quarter of the window."""
FLOOR = 1e-5


class Config(Manifest):
    rate_hz: int = 16000
    """Both sides are compared at this rate, whatever they were recorded or made at."""


def measure(utterances: Sequence[Utterance], cfg: Config) -> list[Column]:
    how = (
        f"mean |difference| of log10 mel amplitudes (floor {FLOOR:g}) at {cfg.rate_hz} Hz, over windows of "
        f"{', '.join(str(window) for window in WINDOWS)} samples; 0 is identity"
    )
    scores = [score(utterance, cfg.rate_hz) for utterance in utterances]
    return [Column(name="mel_distance", scores=scores, better="lower", how=how)]


def score(utterance: Utterance, rate_hz: int) -> Score:
    """The distance of one utterance."""
    pair = pair_at(utterance, rate_hz)
    if isinstance(pair, str):
        return pair
    wave_S, against_S = pair
    if len(wave_S) < max(WINDOWS):
        return "shorter than one window"
    return mel_distance(wave_S, against_S, rate_hz=rate_hz)


def mel_distance(wave_S: Wave, against_S: Wave, *, rate_hz: int) -> float:
    """Mean over the window lengths of the mean absolute difference."""
    each = [np.abs(log_mel(wave_S, window, rate_hz) - log_mel(against_S, window, rate_hz)).mean() for window in WINDOWS]
    return float(np.mean(each))


def log_mel(wave_S: Wave, window: int, rate_hz: int) -> NDArray[np.float64]:
    """log10 mel amplitudes, (frames, bands)."""
    from librosa.filters import mel

    frames = np.lib.stride_tricks.sliding_window_view(wave_S.astype(np.float64), window)[:: window // 4]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    amplitude = np.abs(np.fft.rfft(frames * hann, axis=1))
    bank = mel(sr=rate_hz, n_fft=window, n_mels=WINDOWS[window])
    return np.asarray(np.log10(np.maximum(amplitude @ bank.T, FLOOR)))
