"""The network of pyannote's segmentation models, with the names of its released tensors."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

FILTERS, KERNEL, STRIDE = 80, 251, 10
RATE_HZ = 16000
LOWEST_HZ, NARROWEST_HZ = 50.0, 50.0


class SincFilters(nn.Module):
    """Band-pass filters, each of a low edge and a width that were learned: 40 even ones, then the same 40 odd."""

    def __init__(self) -> None:
        super().__init__()
        self.low_hz_ = nn.Parameter(torch.linspace(0, RATE_HZ / 2 - 200, FILTERS // 2).unsqueeze(1))
        self.band_hz_ = nn.Parameter(torch.full((FILTERS // 2, 1), 100.0))

    def filters(self) -> Tensor:
        """(80, 1, 251): differences of two sinc functions under a Hamming window, over twice their width."""
        low = LOWEST_HZ + self.low_hz_.abs()
        high = (low + NARROWEST_HZ + self.band_hz_.abs()).clamp(LOWEST_HZ, RATE_HZ / 2)
        half = KERNEL // 2
        before = torch.arange(-half, 0, device=low.device, dtype=low.dtype)
        phase = 2 * math.pi * before.unsqueeze(0) / RATE_HZ
        window = torch.hamming_window(KERNEL, periodic=False, device=low.device, dtype=low.dtype)[:half]
        width = high - low
        even = (torch.sin(high * phase) - torch.sin(low * phase)) / (phase / 2) * window
        odd = (torch.cos(low * phase) - torch.cos(high * phase)) / (phase / 2) * window
        even = torch.cat([even, 2 * width, even.flip(1)], dim=1)
        odd = torch.cat([odd, torch.zeros_like(width), -odd.flip(1)], dim=1)
        return torch.cat([even, odd]).unsqueeze(1) / (2 * width).repeat(2, 1).unsqueeze(1)

    def forward(self, wave_B1S: Tensor) -> Tensor:
        return functional.conv1d(wave_B1S, self.filters(), stride=STRIDE)


class SincNet(nn.Module):
    """Waveform to 60 channels every 270 samples."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Module()
        first.filterbank = SincFilters()
        self.wav_norm1d = nn.InstanceNorm1d(1, affine=True)
        self.conv1d = nn.ModuleList([first, nn.Conv1d(FILTERS, 60, 5), nn.Conv1d(60, 60, 5)])
        self.norm1d = nn.ModuleList([nn.InstanceNorm1d(width, affine=True) for width in (FILTERS, 60, 60)])

    def forward(self, wave_BS: Tensor) -> Tensor:
        """Shapes: (B, S) -> (B, 60, F)."""
        x_BCF = self.wav_norm1d(wave_BS.unsqueeze(1))
        for number, (conv, norm) in enumerate(zip(self.conv1d, self.norm1d, strict=True)):
            x_BCF = cast(SincFilters, conv.filterbank)(x_BCF).abs() if number == 0 else conv(x_BCF)
            x_BCF = functional.leaky_relu(norm(functional.max_pool1d(x_BCF, 3)))
        return cast(Tensor, x_BCF)


class PyanNet(nn.Module):
    """Log probabilities of the classes in each frame."""

    def __init__(self, *, classes: int, width: int = 128, layers: int = 4) -> None:
        super().__init__()
        self.sincnet = SincNet()
        self.lstm = nn.LSTM(60, width, layers, bidirectional=True, batch_first=True)
        self.linear = nn.ModuleList([nn.Linear(2 * width, width), nn.Linear(width, width)])
        self.classifier = nn.Linear(width, classes)

    def forward(self, wave_BS: Tensor) -> Tensor:
        """Shapes: (B, S) -> (B, F, classes)."""
        x_BFC, _ = self.lstm(self.sincnet(wave_BS).transpose(1, 2))
        for linear in self.linear:
            x_BFC = functional.leaky_relu(linear(x_BFC))
        return cast(Tensor, self.classifier(x_BFC).log_softmax(dim=-1))
