"""The AudioVAE's encoder: a strided residual stack, 1920 samples to a frame, two frames of look-ahead."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.audiovae.blocks import WeightNormConv
from models.audiovae.config import STEM_CHANNELS, AudioVAEConfig

UNITS = 6
"""Residual units of a stage; unit j dilates by 2^j."""
LAST_STACK = -3
"""Before the activation and the last convolution; of few moments and many weights, which would be laid out anew."""


def fit_for_rows(x: Tensor) -> bool:
    """Whether to keep the channels of a moment together in memory: on a CPU in float32, where no gradient is asked for.

    oneDNN lays out anew what comes and goes otherwise. Measured on one core of an AMD EPYC (Zen 5): 4.3 s of sound take
    465 ms of processor in place of 555; of that, the stack of 24 channels 55 for 81, that of 96 channels 80 for 110.
    """
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and not torch.is_grad_enabled()


class Padded(nn.Module):
    """A convolution with zeros around it; its weights lie under `layer`, as released files name them."""

    def __init__(self, layer: WeightNormConv, left: int, right: int) -> None:
        super().__init__()
        self.layer, self.left, self.right = layer, left, right

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.layer(x, left=self.left, right=self.right))


class ResidualStack(nn.Module):
    """Six units x + conv(act(conv(act(x)))), causal, kernel 3, the first of each pair dilated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for number in range(UNITS):
            unit = nn.ModuleDict()  # the numbers are those of released files
            unit["2"] = WeightNormConv(channels, channels, 3, dilation=2**number)
            unit["5"] = WeightNormConv(channels, channels, 3)
            self.layers.append(unit)

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.layers:
            y = x
            for layer in cast(nn.ModuleDict, unit).values():
                y = layer(functional.leaky_relu(y, 0.01), left=cast(WeightNormConv, layer).reach)
            x = x + y
        return x


class Encoder(nn.Module):
    """Waveform to one vector a frame, before the recurrent block."""

    def __init__(self, config: AudioVAEConfig) -> None:
        super().__init__()
        channels, ahead = config.downsample_channels, config.num_encoder_lookahead
        layers: list[nn.Module] = [Padded(WeightNormConv(1, STEM_CHANNELS, 3), 2, 0), nn.LeakyReLU(0.2)]
        for inside, outside, rate in zip(channels, channels[1:], config.downsample_rates, strict=False):
            strided = WeightNormConv(inside, outside, 2 * rate, stride=rate)
            layers += [Padded(strided, 2 * rate - 1, 0), ResidualStack(outside), nn.LeakyReLU(0.2)]
        kernel, left = (2 * ahead + 1, ahead) if ahead else (3, 2)  # without look-ahead it sees the past instead
        layers.append(Padded(WeightNormConv(channels[-1], config.latent_dim, kernel), left, ahead))
        self.generator = nn.Sequential(*layers)

    def forward(self, wave_BS: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Shapes: (B, S) -> (B, D, F) with F = ceil(S / hop). With `frames_B`, padding behind those frames is not seen.

        What is left of an utterance in the padding behind it would otherwise reach its last frames, by the look-ahead.
        """
        x_BCL: Tensor = self.generator[0](wave_BS.unsqueeze(1))
        if fit_for_rows(x_BCL):
            x_BC1L = x_BCL.unsqueeze(2).contiguous(memory_format=torch.channels_last)
            x_BCL = self.generator[1:LAST_STACK](x_BC1L).squeeze(2).contiguous()
        else:
            x_BCL = self.generator[1:LAST_STACK](x_BCL)
        x_BCF: Tensor = self.generator[LAST_STACK:-1](x_BCL)
        if frames_B is not None:
            x_BCF = x_BCF * (torch.arange(x_BCF.shape[-1], device=x_BCF.device) < frames_B.view(-1, 1, 1))
        return cast(Tensor, self.generator[-1](x_BCF))
