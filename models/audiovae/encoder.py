"""The AudioVAE's encoder: a strided residual stack, 1920 samples to a frame, two frames of look-ahead."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.audiovae.blocks import WeightNormConv
from models.audiovae.config import STEM_CHANNELS, AudioVAEConfig
from models.audiovae.rows import Stage, encoded, rows_fit

UNITS = 6
"""Residual units of a stage; unit j dilates by 2^j."""
INSIDE, AFTER = 0.01, 0.2
"""Slopes of the leaky ReLUs: in a unit, and after a stage."""


class Padded(nn.Module):
    """A convolution with zeros around it; its weights lie under `layer`, as released files name them."""

    def __init__(self, layer: WeightNormConv, left: int, right: int) -> None:
        super().__init__()
        self.layer, self.left, self.right = layer, left, right

    def forward(self, x_BCL: Tensor) -> Tensor:
        return cast(Tensor, self.layer(functional.pad(x_BCL, (self.left, self.right))))


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

    @property
    def units(self) -> list[tuple[WeightNormConv, WeightNormConv]]:
        """The convolutions of each unit."""
        return [(unit["2"], unit["5"]) for unit in cast(list[dict[str, WeightNormConv]], list(self.layers))]

    def forward(self, x_BCL: Tensor) -> Tensor:
        for unit in self.units:
            y_BCL = x_BCL
            for layer in unit:
                y_BCL = layer(functional.pad(functional.leaky_relu(y_BCL, INSIDE), (layer.reach, 0)))
            x_BCL = x_BCL + y_BCL
        return x_BCL


class Encoder(nn.Module):
    """Waveform to one vector a frame, before the recurrent block."""

    def __init__(self, config: AudioVAEConfig) -> None:
        super().__init__()
        channels, ahead = config.downsample_channels, config.num_encoder_lookahead
        layers: list[nn.Module] = [Padded(WeightNormConv(1, STEM_CHANNELS, 3), 2, 0), nn.LeakyReLU(AFTER)]
        for inside, outside, rate in zip(channels, channels[1:], config.downsample_rates, strict=False):
            strided = WeightNormConv(inside, outside, 2 * rate, stride=rate)
            layers += [Padded(strided, 2 * rate - 1, 0), ResidualStack(outside), nn.LeakyReLU(AFTER)]
        kernel, left = (2 * ahead + 1, ahead) if ahead else (3, 2)  # without look-ahead it sees the past instead
        layers.append(Padded(WeightNormConv(channels[-1], config.latent_dim, kernel), left, ahead))
        self.generator = nn.Sequential(*layers)

    @property
    def stages(self) -> list[Stage]:
        """All but the last convolution; each ends with a leaky ReLU."""
        *layers, _ = cast(list[nn.Module], list(self.generator))
        found = []
        for number, layer in enumerate(layers):
            if isinstance(layer, Padded):
                after = layers[number + 1]
                found.append(Stage(layer.layer, after.units if isinstance(after, ResidualStack) else []))
        return found

    def forward(self, wave_BS: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Shapes: (B, S) -> (B, D, F) with F = ceil(S / hop). With `frames_B`, padding behind those frames is not seen.

        What is left of an utterance in the padding behind it would otherwise reach its last frames, by the look-ahead.
        """
        stages = self.stages
        if rows_fit(wave_BS, stages[0].down.weight_v):
            rows = [encoded(wave_1S, stages, inside=INSIDE, after=AFTER) for wave_1S in torch.split(wave_BS, 1)]
            x_BCF = rows[0] if len(rows) == 1 else torch.cat(rows)
        else:
            x_BCF = self.generator[:-1](wave_BS.unsqueeze(1))
        if frames_B is not None:
            x_BCF = x_BCF * (torch.arange(x_BCF.shape[-1], device=x_BCF.device) < frames_B.view(-1, 1, 1))
        return cast(Tensor, self.generator[-1](x_BCF))
