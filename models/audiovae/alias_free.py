"""SnakeBeta without aliases: at twice the rate, between two low-pass filters; and the gradients of these."""

import functools
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.audiovae import products
from models.audiovae.blocks import Carry, with_history
from models.audiovae.config import FILTER_TAPS
from models.fusing import fusable, is_fusing
from models.packing import Packs

Correlation = Callable[[Tensor, list[list[float]]], Tensor]

REACH = FILTER_TAPS // 2 - 1
"""Samples before the present one that either filter looks at, in samples of one phase."""


class SnakeBeta(Packs, nn.Module):
    """x + sin^2(x e^alpha) / (e^beta + 1e-9), alpha and beta per channel (BigVGAN, log scale)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCPL: Tensor) -> Tensor:
        """The channel axis is the second, whatever follows it."""
        shape = (1, -1) + (1,) * (x_BCPL.dim() - 2)
        weights = [self.alpha, self.beta]
        fixed = not torch.is_grad_enabled() and self.packable(weights)
        alpha, share = self.kept(weights, self.factors) if fixed else self.factors()
        return apply(SnakeByHand, x_BCPL, alpha.view(shape), share.view(shape))

    def factors(self) -> tuple[Tensor, Tensor]:
        """e^alpha and 1 / (e^beta + 1e-9)."""
        return self.alpha.exp(), 1.0 / (self.beta.exp() + 1e-9)


class SnakeByHand(torch.autograd.Function):
    """y = x + b sin^2(a x), keeping x alone for the gradient:

    dy/dx = 1 + a b sin(2 a x)        dy/da = b x sin(2 a x)        dy/db = sin^2(a x)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(x, a, b)
        return (x * a).sin_().square_().mul_(b).add_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, a, b = ctx.saved_tensors
        others = [axis for axis in range(x.dim()) if axis != 1]
        angle = x * (2 * a)
        of_b = (grad.sum(others, keepdim=True) - (grad * angle.cos()).sum(others, keepdim=True)) / 2
        swing = angle.sin_().mul_(grad)
        of_a = (swing * x).sum(others, keepdim=True) * b
        return swing.mul_(a * b).add_(grad), of_a, of_b


def kaiser_sinc(taps: int = FILTER_TAPS, *, cutoff: float = 0.25, half_width: float = 0.3) -> Tensor:
    """Low-pass filter of unit sum: a sinc at `cutoff` (of the rate) under a Kaiser window of the stated transition."""
    attenuation = 2.285 * (taps // 2 - 1) * math.pi * 4 * half_width + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    else:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    time = torch.arange(-(taps // 2), taps // 2, dtype=torch.float64) + 0.5
    window = torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64)
    shape = window * 2 * cutoff * torch.sinc(2 * cutoff * time)
    return (shape / shape.sum()).float().view(1, 1, taps)


class Filter(nn.Module):
    """A low-pass filter: one fixed buffer for all channels, or one trained filter a channel."""

    filter: Tensor

    def __init__(self, trained_channels: int | None) -> None:
        super().__init__()
        if trained_channels is None:
            self.register_buffer("filter", kaiser_sinc())
        else:
            self.filter = nn.Parameter(kaiser_sinc().repeat(trained_channels, 1, 1))


class Lowpass(nn.Module):
    """Holds the filter under the name that released files give it: `lowpass.filter`."""

    def __init__(self, trained_channels: int | None) -> None:
        super().__init__()
        self.lowpass = Filter(trained_channels)


class AliasFree(Packs, nn.Module):
    """SnakeBeta at twice the rate, causal: up by 2, activate, low-pass and down by 2 (BigVGAN's Activation1d).

    Both resamplers are computed by phases: the doubled signal is kept as its even and odd samples, which are never
    interleaved. With f the 12 taps, x the input:
        even[t] = 2 sum_k f[2k] x[t-k]        odd[t] = 2 sum_k f[2k+1] x[t-k]
        y[t] = sum_j f[2j+1] even[t-5+j] + f[2j] odd[t-6+j]
    Before the start x is 0, and the activated signal repeats its first sample (even[0]).
    """

    def __init__(self, channels: int, *, trained_filters: bool = False) -> None:
        super().__init__()
        trained = channels if trained_filters else None
        self.act = SnakeBeta(channels)
        self.upsample = Filter(trained)
        self.downsample = Lowpass(trained)

    def forward(self, x_BCL: Tensor, carry: Carry | None = None) -> Tensor:
        """Shapes: (B, C, L) -> (B, C, L)."""
        filters = [self.upsample.filter, self.downsample.lowpass.filter]
        if products.filters_fit(x_BCL, filters[0]) and self.packable(filters) and not is_fusing():
            return self.by_products(x_BCL, filters, carry)
        fixed = x_BCL.is_cuda and not torch.is_grad_enabled() and self.packable(filters)
        up_G2K, down_G2K = self.kept(filters, self.phases) if fixed else self.phases()
        if carry is not None and (self, "doubled") in carry and is_fusing():
            alpha, share = self.act.factors()
            past = carry[self, "input"], carry[self, "doubled"]
            made, *past_now = alias_free(x_BCL, *past, up_G2K, down_G2K, alpha, share)
            carry[self, "input"], carry[self, "doubled"] = past_now
            return made
        doubled_BC2L = by_phase(with_history(x_BCL, REACH, carry=carry, key=(self, "input")), up_G2K)
        doubled_BC2L = self.act(doubled_BC2L)
        history = None if carry is None else carry.get((self, "doubled"))
        if history is None:
            history = doubled_BC2L[:, :, :1, :1].expand(-1, -1, 2, REACH + 1)
        joined = torch.cat([history, doubled_BC2L], dim=-1)
        if carry is not None:
            carry[self, "doubled"] = joined[..., joined.shape[-1] - REACH - 1 :].clone()
        return from_phases(joined, down_G2K)

    def phases(self) -> tuple[Tensor, Tensor]:
        """Taps of both filters by phase, (G, 2, K)."""
        up_G2K = 2 * self.upsample.filter.view(-1, REACH + 1, 2).transpose(1, 2).flip(-1)
        down_G2K = self.downsample.lowpass.filter.view(-1, REACH + 1, 2).transpose(1, 2)
        # the odd phase lags by one: seven taps for each, the first of the even ones and the last of the odd ones 0
        down_G2K = torch.stack([functional.pad(down_G2K[:, 1], (1, 0)), functional.pad(down_G2K[:, 0], (0, 1))], dim=1)
        return up_G2K, down_G2K

    def by_products(self, x_BCL: Tensor, filters: list[Tensor], carry: Carry | None) -> Tensor:
        """The same for speech on a CPU; the doubled signal is interleaved: u[2t] = even[t], u[2t+1] = odd[t]."""
        block = products.block_of(x_BCL.shape[-1])
        up, down = self.kept(
            filters,
            lambda: (
                products.doubling(filters[0].flatten(), block=block),
                products.halving(filters[1].flatten(), block=block),
            ),
            key=block,
        )
        joined = with_history(x_BCL, REACH, carry=carry, key=(self, "input"))
        doubled = self.act(products.filtered(joined, up, window=block + REACH, step=block))
        history = None if carry is None else carry.get((self, "interleaved"))
        if history is None:
            history = doubled[..., :1].expand(-1, -1, FILTER_TAPS - 1)
        joined = torch.cat([history, doubled], dim=-1)
        if carry is not None:
            carry[self, "interleaved"] = joined[..., joined.shape[-1] - FILTER_TAPS + 1 :].clone()
        return products.filtered(joined, down, window=2 * block + FILTER_TAPS - 2, step=2 * block)


@fusable
def alias_free(
    x_BCL: Tensor,
    before_BCR: Tensor,
    doubled_BC2H: Tensor,
    up_G2K: Tensor,
    down_G2K: Tensor,
    alpha_C: Tensor,
    share_C: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """A step of AliasFree in a stream, by shifted copies: what comes out, and what the next step needs of the past."""
    length, joined = x_BCL.shape[-1], torch.cat([before_BCR, x_BCL], dim=-1)
    phases = []
    for phase in range(2):
        up = [up_G2K[:, phase, k, None] * joined[..., k : k + length] for k in range(up_G2K.shape[-1])]
        made = functools.reduce(torch.add, up)
        phases.append(made + (made * alpha_C[:, None]).sin().square() * share_C[:, None])
    doubled = torch.cat([doubled_BC2H, torch.stack(phases, dim=2)], dim=-1)
    down = [
        down_G2K[:, phase, k, None] * doubled[:, :, phase, k : k + length]
        for phase in range(2)
        for k in range(down_G2K.shape[-1])
    ]
    past = joined[..., length:].clone(), doubled[..., length:].clone()
    return functools.reduce(torch.add, down), *past


def apply(function: type[torch.autograd.Function], *inputs: Any) -> Tensor:
    """Run an autograd function."""
    return cast(Tensor, function.apply(*inputs))  # type: ignore[no-untyped-call]


def by_phase(x_BCL: Tensor, taps_G2K: Tensor) -> Tensor:
    """Correlate every channel with two sets of taps: (B, C, L + K - 1) -> (B, C, 2, L). G is 1 or C."""
    batch, channels, length = x_BCL.shape
    if taps_G2K.shape[0] == 1 and x_BCL.device.type == "cpu":
        return apply(ByTaps, x_BCL, taps_G2K[0].tolist(), spread, gather)
    if taps_G2K.shape[0] == 1:
        y = functional.conv1d(x_BCL.reshape(batch * channels, 1, length), taps_G2K.transpose(0, 1))
    else:
        y = functional.conv1d(x_BCL, taps_G2K.reshape(2 * channels, 1, -1), groups=channels)
    return y.view(batch, channels, 2, -1)


def from_phases(x_BC2L: Tensor, taps_G2K: Tensor) -> Tensor:
    """Correlate both phases of every channel and add: (B, C, 2, L + K - 1) -> (B, C, L). G is 1 or C."""
    batch, channels, _, length = x_BC2L.shape
    if taps_G2K.shape[0] == 1 and x_BC2L.device.type == "cpu":
        return apply(ByTaps, x_BC2L, taps_G2K[0].tolist(), gather, spread)
    if taps_G2K.shape[0] == 1:
        y = functional.conv1d(x_BC2L.reshape(batch * channels, 2, length), taps_G2K)
    else:
        y = functional.conv1d(x_BC2L.reshape(batch, 2 * channels, length), taps_G2K, groups=channels)
    return y.view(batch, channels, -1)


def spread(x_BCL: Tensor, taps_2K: list[list[float]]) -> Tensor:
    """y[p, t] = sum_k taps[p][k] x[t + k], by adding shifted copies in place.

    On a CPU core this takes a quarter of the time of a one-channel convolution, and its gradient a fortieth (2 x 16 x
    3840 samples, torch 2.11); a third of a decoder's layers are such filters.
    """
    length = x_BCL.shape[-1] - len(taps_2K[0]) + 1
    y = x_BCL.new_empty((*x_BCL.shape[:-1], len(taps_2K), length))
    for phase, taps in enumerate(taps_2K):
        torch.mul(x_BCL[..., :length], taps[0], out=y[..., phase, :])
        for shift, tap in enumerate(taps[1:], start=1):
            if tap != 0.0:
                y[..., phase, :].add_(x_BCL[..., shift : shift + length], alpha=tap)
    return y


def gather(x_BC2L: Tensor, taps_2K: list[list[float]]) -> Tensor:
    """y[t] = sum_p sum_k taps[p][k] x[p, t + k], in the same way."""
    length = x_BC2L.shape[-1] - len(taps_2K[0]) + 1
    y = x_BC2L.new_zeros((*x_BC2L.shape[:-2], length))
    for phase, taps in enumerate(taps_2K):
        for shift, tap in enumerate(taps):
            if tap != 0.0:
                y.add_(x_BC2L[..., phase, shift : shift + length], alpha=tap)
    return y


def reversed_padded(grad: Tensor, taps_2K: list[list[float]]) -> tuple[Tensor, list[list[float]]]:
    """The gradient of a correlation is the correlation of the padded gradient with the reversed taps."""
    reach = len(taps_2K[0]) - 1
    return functional.pad(grad, (reach, reach)), [taps[::-1] for taps in taps_2K]


class ByTaps(torch.autograd.Function):
    """`spread` or `gather`, with the other one for its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps_2K: list[list[float]], there: Correlation, back: Correlation) -> Tensor:
        ctx.taps_2K, ctx.back = taps_2K, back
        return there(x.detach(), taps_2K)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.back(*reversed_padded(grad, ctx.taps_2K)), None, None, None
