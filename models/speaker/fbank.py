"""Kaldi's log mel filter bank in plain torch, for CAM++: 80 bands, 25 ms every 10 ms, at 16 kHz."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

RATE_HZ = 16000
FRAME, SHIFT, FFT = 400, 160, 512
BANDS = 80
LOWEST_HZ = 20.0


# What is cached is made on the CPU: a tensor made under `torch.device("meta")` would stay empty for ever. And by torch:
# its logarithm and window are those of torchaudio.compliance.kaldi, which released models were trained with; numpy's
# float32 logarithm moves an x-vector by 1e-3.


@lru_cache(maxsize=1)
def mel_bands() -> Tensor:
    """Triangles that are linear in mel = 1127 ln(1 + f / 700), (FFT / 2 + 1, BANDS); equal to torchaudio's."""
    low, high = (1127.0 * math.log(1.0 + edge / 700.0) for edge in (LOWEST_HZ, RATE_HZ / 2))
    width = (high - low) / (BANDS + 1)
    number_M1 = torch.arange(BANDS, device="cpu")[:, None]
    left, center, right = (low + (number_M1 + edge) * width for edge in (0.0, 1.0, 2.0))
    hertz = RATE_HZ / FFT * torch.arange(FFT // 2, device="cpu")
    at = 1127.0 * (1.0 + hertz / 700.0).log()
    bands = torch.minimum((at - left) / (center - left), (right - at) / (right - center)).clamp(min=0)
    return functional.pad(bands, (0, 1)).T.contiguous()


@lru_cache(maxsize=1)
def povey_window() -> Tensor:
    """Kaldi's default window: a symmetric Hann window to the power 0.85."""
    return torch.hann_window(FRAME, periodic=False, device="cpu").pow(0.85)


def fbank(wave_BS: Tensor) -> Tensor:
    """Log energies (B, frames, 80) of 16 kHz samples in [-1, 1]: no DC, pre-emphasis 0.97, power, no dither."""
    frames = wave_BS.unfold(-1, FRAME, SHIFT)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    frames = (frames - 0.97 * before) * povey_window().to(frames)
    power = torch.fft.rfft(frames, n=FFT).abs().square()
    energies: Tensor = power @ mel_bands().to(power)
    return energies.clamp(min=torch.finfo(torch.float32).eps).log()


def without_mean(fbank_BFM: Tensor, frames_B: Tensor | None = None) -> Tensor:
    """Subtract each band's mean over time; with `frames_B`, over each utterance's own frames, zeros after them."""
    if frames_B is None:
        return fbank_BFM - fbank_BFM.mean(dim=1, keepdim=True)
    own = (torch.arange(fbank_BFM.shape[1], device=fbank_BFM.device) < frames_B.unsqueeze(1)).unsqueeze(-1)
    mean = (fbank_BFM * own).sum(dim=1, keepdim=True) / frames_B.clamp(min=1).view(-1, 1, 1)
    return (fbank_BFM - mean) * own


def hann_kernel(from_hz: int = 48000, to_hz: int = RATE_HZ) -> Tensor:
    """Kernel of torchaudio's default resampler, one row an output phase: (1, 1, 41) for 48 kHz to 16 kHz.

    With the rates divided by what they share, phase p of `new` phases looks at input samples around p / new * old.
    """
    shared = math.gcd(from_hz, to_hz)
    old, new = from_hz // shared, to_hz // shared
    zeros, rolloff = 6, 0.99
    base = min(old, new) * rolloff
    width = math.ceil(zeros * old / base)
    phase = -torch.arange(new, dtype=torch.float64)[:, None, None] / new
    time = (phase + torch.arange(-width, width + old, dtype=torch.float64) / old) * base
    time = time.clamp(-zeros, zeros)
    window = torch.cos(time * math.pi / zeros / 2).square()
    return (window * torch.sinc(time) * base / old).float()
