"""Rates and edges of prompt audio: the resampler, the trim, and the padding that released models were trained with."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

RATE_HZ = 48000
PATCH_SAMPLES = 7680
"""Waveform samples in a patch: 4 latent frames, 160 ms."""


def resample_kaiser(wave: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Sinc interpolation under a Kaiser window (width 64, rolloff 0.95) along the last axis (torchaudio)."""
    if from_hz == to_hz:
        return wave
    from torchaudio.functional import resample

    resampled: Tensor = resample(
        wave, from_hz, to_hz, lowpass_filter_width=64, rolloff=0.95, resampling_method="sinc_interp_kaiser"
    )
    return resampled


def loud_interval(wave_S: NDArray[np.float32], *, top_db: float = 30.0) -> tuple[int, int]:
    """Start and end sample of what is within `top_db` of the loudest frame; (0, 0) of silence or of nothing.

    Frames of 2048 every 512, centered, zeros beyond the ends: librosa.effects.trim, without its import time.
    """
    frame, hop, floor = 2048, 512, 1e-5
    if wave_S.size == 0:
        return 0, 0
    padded = np.pad(wave_S.astype(np.float32), frame // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[::hop]
    rms = np.sqrt(np.mean(np.square(frames), axis=1))
    if rms.max() == 0.0:
        return 0, 0
    decibels = 20.0 * np.log10(np.maximum(floor, rms) / max(floor, float(rms.max())))
    loud = np.flatnonzero(decibels > -top_db)
    return int(loud[0]) * hop, min(wave_S.size, (int(loud[-1]) + 1) * hop)


def prompt_wave(
    wave_S: NDArray[np.float32], rate_hz: int, *, to_hz: int = RATE_HZ, patch_samples: int = PATCH_SAMPLES
) -> Tensor:
    """Prompt audio as models take it: trimmed at its own rate, then `to_hz`, then zeros to whole patches; shape (S,).

    Raises: ValueError, a sentence, when nothing but silence is there.
    """
    start, end = loud_interval(wave_S)
    if end <= start:
        raise ValueError("the prompt audio is silent: nothing is left after trimming 30 dB below its loudest part")
    wave = resample_kaiser(torch.from_numpy(np.ascontiguousarray(wave_S[start:end], dtype=np.float32)), rate_hz, to_hz)
    return functional.pad(wave, (0, -wave.shape[-1] % patch_samples))
