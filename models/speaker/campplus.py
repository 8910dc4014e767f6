"""CAM++: 48 kHz waveform to a 512-d x-vector. Names and shapes of an official speaker_encoder.safetensors.

The network is that of 3D-Speaker (Wang et al. 2023, CAM++: context-aware masking on a densely connected TDNN), with
one difference of the released one: the pooled variance has a floor of 0.01.
"""

import math
from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.packing import fit_for_onednn, multiply
from models.speaker.fbank import FRAME, RATE_HZ, fbank, hann_kernel, without_mean

XVECTOR = 512
GROWTH, BOTTLENECK = 32, 128
BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Layers and dilation of each dense block."""
SEGMENT_FRAMES = 100
VARIANCE_FLOOR = 0.01


class ResidualUnit(nn.Module):
    """Two 3 x 3 convolutions over (band, frame), a shortcut where the bands are halved."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + self.shortcut(x))


class Head(nn.Module):
    """FCM: a small 2-d network that turns 80 bands into 320 channels a frame."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(ResidualUnit(channels, 2), ResidualUnit(channels, 1))
        self.layer2 = nn.Sequential(ResidualUnit(channels, 2), ResidualUnit(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, fbank_BML: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(fbank_BML.unsqueeze(1))))
        x = functional.relu(self.bn2(self.conv2(self.layer2(self.layer1(x)))))
        return x.flatten(1, 2)


def norm_relu(channels: int) -> nn.Sequential:
    """BatchNorm and ReLU under the names of released files."""
    return nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU(inplace=True)))


class TDNN(nn.Module):
    """Convolution over frames, then BatchNorm and ReLU."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(inside, outside, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.nonlinear = norm_relu(outside)

    def forward(self, x_BCL: Tensor) -> Tensor:
        return cast(Tensor, self.nonlinear(self.linear(x_BCL)))


class ContextMask(nn.Module):
    """A convolution whose channels are gated by the mean of the utterance plus that of the 100-frame segment."""

    def __init__(self, inside: int, outside: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(inside, outside, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(inside, inside // 2, 1)
        self.linear2 = nn.Conv1d(inside // 2, outside, 1)

    def forward(self, x_BCL: Tensor) -> Tensor:
        segment_BCN = functional.avg_pool1d(x_BCL, SEGMENT_FRAMES, SEGMENT_FRAMES, ceil_mode=True)
        context_BCN = functional.relu(self.linear1(x_BCL.mean(dim=-1, keepdim=True) + segment_BCN))
        gate_BCN = torch.sigmoid(self.linear2(context_BCN))
        gate_BCL = gate_BCN.repeat_interleave(SEGMENT_FRAMES, dim=-1)[..., : x_BCL.shape[-1]]
        return cast(Tensor, self.linear_local(x_BCL) * gate_BCL)


class PointConv(nn.Conv1d):
    """A convolution of one tap, without bias. torch gives those of this size to MKL; by oneDNN they take 0.45 of the
    time on one core of an AMD EPYC (Zen 5)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(inside, outside, 1, bias=False)

    def forward(self, x_BCL: Tensor) -> Tensor:
        """(B, C, L) -> (B, C', L)."""
        if torch.is_grad_enabled() or len(x_BCL) != 1 or not fit_for_onednn(x_BCL, self.weight):
            return super().forward(x_BCL)
        return multiply(self.weight.squeeze(-1), x_BCL[0].t())[None]


class DenseLayer(nn.Module):
    """One layer of a dense block: bottleneck, then the masked convolution; 32 channels more."""

    def __init__(self, inside: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = norm_relu(inside)
        self.linear1 = PointConv(inside, BOTTLENECK)
        self.nonlinear2 = norm_relu(BOTTLENECK)
        self.cam_layer = ContextMask(BOTTLENECK, GROWTH, dilation)

    def forward(self, x_BCL: Tensor) -> Tensor:
        y = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x_BCL))))
        return torch.cat([x_BCL, y], dim=1)


class Transit(nn.Module):
    """BatchNorm, ReLU, and a 1 x 1 convolution that halves the channels."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        self.nonlinear = norm_relu(inside)
        self.linear = PointConv(inside, inside // 2)

    def forward(self, x_BCL: Tensor) -> Tensor:
        return cast(Tensor, self.linear(self.nonlinear(x_BCL)))


class Embedding(nn.Module):
    """The last linear layer and a BatchNorm without affine."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(inside, outside, 1, bias=False)
        self.nonlinear = nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(outside, affine=False)))

    def forward(self, pooled_BC: Tensor) -> Tensor:
        return cast(Tensor, self.nonlinear(self.linear(pooled_BC.unsqueeze(-1)).squeeze(-1)))


def pooled(x_BCL: Tensor, frames_B: Tensor | None, *, floor: float = VARIANCE_FLOOR) -> Tensor:
    """Mean and standard deviation over each utterance's own frames: (B, C, L) -> (B, 2 C)."""
    if frames_B is None:
        frames_B = torch.full((x_BCL.shape[0],), x_BCL.shape[-1], device=x_BCL.device)
    own = (torch.arange(x_BCL.shape[-1], device=x_BCL.device) < frames_B.unsqueeze(1)).unsqueeze(1)
    count = frames_B.view(-1, 1)
    mean = (x_BCL * own).sum(dim=-1) / count.clamp(min=1)
    squares = ((x_BCL - mean.unsqueeze(-1)).square() * own).sum(dim=-1)
    variance = squares / (count - 1).clamp(min=1)
    return torch.cat([mean, variance.clamp(min=floor).sqrt()], dim=1)


def dense_tdnn(outside: int) -> nn.ModuleDict:
    """The D-TDNN under the names of released files, in the order in which it runs."""
    parts: dict[str, nn.Module] = {"tdnn": TDNN(320, 128, 5, 2)}
    width = 128
    for number, (layers, dilation) in enumerate(BLOCKS, start=1):
        block = nn.Sequential()
        for layer in range(layers):
            block.add_module(f"tdnnd{layer + 1}", DenseLayer(width + layer * GROWTH, dilation))
        width += layers * GROWTH
        parts[f"block{number}"], parts[f"transit{number}"] = block, Transit(width)
        width //= 2
    parts["out_nonlinear"], parts["dense"] = norm_relu(width), Embedding(2 * width, outside)
    return nn.ModuleDict(parts)


class CAMPPlus(nn.Module):
    """Filter bank to x-vector. The defaults are those of dots.tts; 3D-Speaker's have another width, no floor."""

    def __init__(self, width: int = XVECTOR, *, variance_floor: float = VARIANCE_FLOOR) -> None:
        super().__init__()
        self.variance_floor = variance_floor
        self.head = Head()
        self.xvector = dense_tdnn(width)

    def forward(self, fbank_BFM: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Shapes: (B, F, 80), (B,) -> (B, width). Padding is masked in the pooling only, as in the release."""
        *body, embedding = self.xvector.values()
        x_BCL = self.head(fbank_BFM.transpose(1, 2))
        for part in body:
            x_BCL = part(x_BCL)
        halved_B = None if frames_B is None else (frames_B + 1) // 2
        return cast(Tensor, embedding(pooled(x_BCL, halved_B, floor=self.variance_floor)))


class Resample(nn.Module):
    """To 16 kHz with the stored kernel (torchaudio's default: Hann window, width 6, rolloff 0.99)."""

    kernel: Tensor

    def __init__(self, from_hz: int = 48000) -> None:
        super().__init__()
        shared = math.gcd(from_hz, RATE_HZ)
        self.old, self.new = from_hz // shared, RATE_HZ // shared
        self.register_buffer("kernel", hann_kernel(from_hz))

    def forward(self, wave_BS: Tensor) -> Tensor:
        """Shapes: (B, S) -> (B, ceil(S * 16000 / rate))."""
        width = (self.kernel.shape[-1] - self.old) // 2
        padded = functional.pad(wave_BS.unsqueeze(1), (width, width + self.old))
        phases_BNL = functional.conv1d(padded, self.kernel, stride=self.old)
        return phases_BNL.transpose(1, 2).flatten(1)[:, : self.samples(wave_BS.shape[-1])]

    def samples(self, samples: int) -> int:
        """How many samples come out of so many."""
        return -(-samples * self.new // self.old)


class SpeakerEncoder(nn.Module):
    """CAM++ and its inference front end; always in evaluation mode and without gradients."""

    def __init__(self, *, rate_hz: int = 48000, width: int = XVECTOR) -> None:
        super().__init__()
        self.rate_hz = rate_hz
        self.model = CAMPPlus(width)
        self.resample = Resample(rate_hz) if rate_hz != RATE_HZ else nn.Identity()
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def train(self, mode: bool = True) -> "SpeakerEncoder":
        """Stay in evaluation mode: the statistics of its BatchNorms never move."""
        return super().train(False)

    def features(self, wave_S: Tensor, *, crop_start: int = 0, max_seconds: float = 10.0) -> Tensor:
        """Filter bank (F, 80) of one waveform at `rate_hz`: cropped, 16 kHz, mean-normalized.

        `crop_start` counts samples and matters only where the audio is longer than `max_seconds`;
        `max_seconds` <= 0 crops nothing.
        Raises: ValueError where there is less than one frame of audio.
        """
        longest = round(max_seconds * self.rate_hz)
        if 0 < longest < wave_S.shape[-1]:
            start = min(crop_start, wave_S.shape[-1] - longest)
            wave_S = wave_S[start : start + longest]
        wave16_1S = self.resample(wave_S.unsqueeze(0))
        if wave16_1S.shape[-1] < FRAME:
            raise ValueError(
                f"{wave_S.shape[-1] / self.rate_hz:.3f} s of audio is too short for a voice: 25 ms at least"
            )
        return without_mean(fbank(wave16_1S)).squeeze(0)

    @torch.no_grad()
    def embed(
        self,
        wave_BS: Tensor,
        length_B: Tensor | None = None,
        *,
        crop_start_B: Tensor | None = None,
        max_seconds: float = 10.0,
    ) -> Tensor:
        """x-vectors (B, 512) of waveforms at `rate_hz`, each as if it were alone: padding changes nothing."""
        rows = []
        for number, wave_S in enumerate(wave_BS):
            own_S = wave_S if length_B is None else wave_S[: int(length_B[number])]
            start = 0 if crop_start_B is None else int(crop_start_B[number])
            features_FM = self.features(own_S, crop_start=start, max_seconds=max_seconds)
            rows.append(self.model(features_FM.unsqueeze(0)))
        return torch.cat(rows)

    def forward(self, wave_BS: Tensor, length_B: Tensor | None = None) -> Tensor:
        """See `embed`."""
        return self.embed(wave_BS, length_B)
