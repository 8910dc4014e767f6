"""Causal building blocks of the AudioVAE; each can run on a whole signal or on chunks with a carried state."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.audiovae import products, rows
from models.packing import Packs

Carry = dict[tuple[nn.Module, str], Tensor]
"""State of a stream: what each layer remembers of its input. None in its place: the whole signal at once."""


def with_history(x_BCL: Tensor, width: int, *, carry: Carry | None, key: tuple[nn.Module, str]) -> Tensor:
    """`x` with its last `width` columns of history on the left; zeros where nothing came before."""
    if carry is None:
        return functional.pad(x_BCL, (width, 0))
    history = carry.get(key)
    if history is None:
        history = x_BCL.new_zeros((*x_BCL.shape[:-1], width))
    joined = torch.cat([history, x_BCL], dim=-1)
    carry[key] = joined[..., joined.shape[-1] - width :].clone()
    return joined


class WeightNormConv(Packs, nn.Module):
    """Conv1d whose weight is g * v / |v|, stored as `weight_g`, `weight_v`: the layout of released encoders."""

    def __init__(self, inside: int, outside: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.stride, self.dilation, self.reach = stride, dilation, (kernel - 1) * dilation
        fresh = nn.Conv1d(inside, outside, kernel).weight.detach()
        self.weight_v = nn.Parameter(fresh)
        self.weight_g = nn.Parameter(fresh.norm(dim=(1, 2), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(outside))

    @property
    def weight(self) -> Tensor:
        """The weight that is used."""
        return cast(Tensor, self.weight_v * (self.weight_g / self.weight_v.norm(dim=(1, 2), keepdim=True)))

    def packed_conv(self) -> rows.Conv:
        """This convolution as models.audiovae.rows computes it."""

        def make() -> Tensor:
            length = rows.usual_piece(self.bias.shape[0]) * self.stride
            return rows.packed(self.weight, stride=self.stride, dilation=self.dilation, length=length)

        weights = [self.weight_g, self.weight_v]
        weight = self.kept(weights, make, key=torch.get_num_threads()) if self.packable(weights) else make()
        return rows.Conv(weight, self.bias, self.stride, self.dilation, self.reach)

    def forward(self, padded_BCL: Tensor) -> Tensor:
        """Convolve an input that is already padded."""
        return functional.conv1d(padded_BCL, self.weight, self.bias, stride=self.stride, dilation=self.dilation)


class CausalConv(Packs, nn.Conv1d):
    """Conv1d that sees the past only: (kernel - 1) * dilation zeros, or the carried history, on the left."""

    def __init__(self, inside: int, outside: int, kernel: int, *, dilation: int = 1, bias: bool = True) -> None:
        super().__init__(inside, outside, kernel, dilation=dilation, bias=bias)
        self.reach = (kernel - 1) * dilation

    def forward(self, x_BCL: Tensor, carry: Carry | None = None) -> Tensor:
        """Shapes: (B, C, L) -> (B, C', L)."""
        joined = with_history(x_BCL, self.reach, carry=carry, key=(self, "input"))
        if products.short(joined, self.weight) and x_BCL.shape[-1] and self.packable([self.weight]):
            matrix = self.kept([self.weight], lambda: products.taps_side_by_side(self.weight))
            (kernel,), (dilation,) = self.kernel_size, self.dilation
            return products.convolved(joined, matrix, self.bias, kernel=kernel, dilation=dilation)
        return super().forward(joined)


class CausalUp(Packs, nn.ConvTranspose1d):
    """ConvTranspose1d with kernel 2u and stride u, whose last u samples are dropped."""

    def __init__(self, inside: int, outside: int, rate: int) -> None:
        super().__init__(inside, outside, 2 * rate, stride=rate)
        self.rate = rate

    def forward(self, x_BCL: Tensor, carry: Carry | None = None) -> Tensor:  # type: ignore[override]
        """Shapes: (B, C, L) -> (B, C', L * rate)."""
        if products.short(x_BCL, self.weight) and self.packable([self.weight]):
            joined = with_history(x_BCL, 1, carry=carry, key=(self, "input"))
            matrix = self.kept([self.weight], lambda: products.steps_side_by_side(self.weight))
            return products.upsampled(joined, matrix, self.bias, stride=self.rate)
        if carry is None:
            return super().forward(x_BCL)[..., : -self.rate]
        joined = with_history(x_BCL, 1, carry=carry, key=(self, "input"))
        return super().forward(joined)[..., self.rate : -self.rate]


class RecurrentSkip(nn.Module):
    """Unidirectional LSTM with a residual around it."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, num_layers=layers, batch_first=True)

    def forward(self, x_BFH: Tensor, carry: Carry | None = None) -> Tensor:
        """Shapes: (B, F, H) -> (B, F, H)."""
        state = None
        if carry is not None and (self, "hidden") in carry:
            state = (carry[self, "hidden"], carry[self, "cell"])
        y_BFH, (hidden, cell) = self.lstm(x_BFH, state)
        if carry is not None:
            carry[self, "hidden"], carry[self, "cell"] = hidden, cell
        return cast(Tensor, y_BFH + x_BFH)


class RecurrentBlock(nn.Sequential):
    """Linear to 4 D, LSTM with skip, Linear back to D; the same on both sides of the latent."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), RecurrentSkip(4 * width, layers), nn.Linear(4 * width, width))

    def forward(self, x_BFD: Tensor, carry: Carry | None = None) -> Tensor:
        """Shapes: (B, F, D) -> (B, F, D)."""
        widen, recur, narrow = self
        return cast(Tensor, narrow(recur(widen(x_BFD), carry)))
