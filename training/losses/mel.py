"""Multi-scale mel distance of two waveforms (BigVGAN-v2): seven resolutions, L1 of log10 magnitudes, summed."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
"""Window in samples and mel bands of each resolution; the hop is a quarter of the window."""
SMALLEST = 1e-5


def mel_distance(made_BS: Tensor, real_BS: Tensor, *, rate_hz: int) -> Tensor:
    """Sum over scales of the mean |log10 mel(made) - log10 mel(real)|; one number."""
    with torch.autocast(made_BS.device.type, enabled=False):
        terms = [
            functional.l1_loss(
                log_mel(made_BS, window=window, bands=bands, rate_hz=rate_hz),
                log_mel(real_BS, window=window, bands=bands, rate_hz=rate_hz),
            )
            for window, bands in SCALES
        ]
        return torch.stack(terms).sum()


def log_mel(wave_BS: Tensor, *, window: int, bands: int, rate_hz: int) -> Tensor:
    """log10 of Slaney mel magnitudes, clamped at 1e-5: (B, S) -> (B, bands, frames)."""
    shape = torch.hann_window(window, device=wave_BS.device, dtype=wave_BS.dtype)
    spectrum = torch.stft(wave_BS, window, hop_length=window // 4, window=shape, center=True, return_complex=True)
    filters = mel_filters(rate_hz, window, bands).to(wave_BS)
    return (filters @ spectrum.abs()).clamp(min=SMALLEST).log10()


@lru_cache(maxsize=32)
def mel_filters(rate_hz: int, window: int, bands: int) -> Tensor:
    """Slaney's mel triangles of unit area, (bands, window / 2 + 1): librosa.filters.mel with its defaults.

    Where the window resolves less than a band, the band is empty: a constant row without gradient.
    """
    edges = mel_to_hertz(np.linspace(0.0, hertz_to_mel(rate_hz / 2), bands + 2))
    at = np.linspace(0.0, rate_hz / 2, window // 2 + 1)
    rising = (at - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - at) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(triangles.astype(np.float32))


LINEAR_HZ, KNEE_HZ, STEP = 200.0 / 3.0, 1000.0, np.log(6.4) / 27.0
"""Slaney's scale: linear up to 1 kHz, logarithmic above."""


def hertz_to_mel(hertz: float) -> float:
    """Slaney's mel of a frequency."""
    return hertz / LINEAR_HZ if hertz < KNEE_HZ else KNEE_HZ / LINEAR_HZ + float(np.log(hertz / KNEE_HZ)) / STEP


def mel_to_hertz(mel: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """The reverse, on arrays."""
    knee = KNEE_HZ / LINEAR_HZ
    return np.where(mel < knee, mel * LINEAR_HZ, KNEE_HZ * np.exp(STEP * (np.maximum(mel, knee) - knee)))
