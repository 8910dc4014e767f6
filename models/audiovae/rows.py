"""The encoder's stages on a CPU where no gradient is wanted: oneDNN's convolutions, a piece of the signal at a time.

The channels of a moment lie together in memory. Weights are packed once, activations and sums are made while a result
is in registers, and a piece is short enough for the cache. oneDNN needs about 1 ms to prepare a convolution of a length
that it has not seen, and there are 79: so pieces come in few lengths, whatever the length of a clip. What a piece has
behind the end of the signal is thrown away, which changes nothing, since the stages are causal.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from models.packing import fit_for_onednn

if TYPE_CHECKING:
    from models.audiovae.blocks import WeightNormConv

PIECE = 1 << 18
"""Numbers that a piece holds, 1 MB, or as few as half of them; the last piece of a signal up to half as many more."""
SHORTEST = 112
"""Moments of a piece at least. oneDNN reads the weights in another order for less than about 80 to 100 moments, and
where they do not come in the order that it wants, it is a hundred times slower."""


class Conv(NamedTuple):
    """A convolution whose weight is packed."""

    weight: Tensor
    bias: Tensor
    stride: int
    dilation: int

    reach: int
    """Moments before the present one that it sees."""


class Stage(NamedTuple):
    """A strided convolution, and residual units of two convolutions each."""

    down: "WeightNormConv"
    units: Sequence[tuple["WeightNormConv", "WeightNormConv"]]


def rows_fit(wave_BS: Tensor, weight: Tensor) -> bool:
    """Whether a signal can be encoded so."""
    return wave_BS.shape[-1] > 0 and not torch.is_grad_enabled() and fit_for_onednn(wave_BS, weight)


def pieces(length: int, channels: int) -> Iterator[tuple[int, int]]:
    """Where the pieces of a signal begin, and how many moments each has; the last, up to an eighth too many."""
    usual, start = usual_piece(channels), 0
    while length - start > usual * 3 // 2:
        yield start, usual
        start += usual
    left = length - start
    step = usual // 8 if start else 1 << max(0, left.bit_length() - 4)
    yield start, max(SHORTEST, -(-left // step) * step)


def usual_piece(channels: int) -> int:
    """Moments of a piece of a long signal."""
    return max(SHORTEST, 1 << ((PIECE // channels).bit_length() - 1))


@torch.no_grad()
def encoded(wave_1S: Tensor, stages: Sequence[Stage], *, inside: float, after: float) -> Tensor:
    """One signal through all stages: (1, S) -> (1, C, F). `inside` and `after` are slopes of leaky ReLUs: in a unit
    before either convolution, and after a stage."""
    reach, length = stages[0].down.reach, wave_1S.shape[-1]
    source = room(1, reach + length, zeros=reach)
    source[0, 0, 0, reach:] = wave_1S[0]
    for stage, following in zip(stages, [*stages[1:], None], strict=True):
        down, units = stage.down.packed_conv(), [(one.packed_conv(), two.packed_conv()) for one, two in stage.units]
        channels, length = down.bias.shape[0], -(-length // down.stride)
        zeros = following.down.reach if following is not None else 0
        made = room(channels, zeros + length, zeros=zeros)
        pasts = [room(channels, width, zeros=width) for width in (one.reach + two.reach for one, two in units)]
        for start, size in pieces(length, channels):
            x = convolved(window(source, start=start, size=size, conv=down), down)
            through_units(x, units, pasts, first=start == 0, slope=inside)
            own = made[..., zeros + start : zeros + min(start + size, length)]
            torch.ops.aten.leaky_relu.out(x[..., : own.shape[-1]], after, out=own)
        source = made
    return source.squeeze(2).contiguous()


def through_units(
    x_1C1L: Tensor,
    units: Sequence[tuple[Conv, Conv]],
    pasts: Sequence[Tensor],
    *,
    first: bool,
    slope: float,
) -> None:
    """x + conv(act(conv(act(x)))), in place, unit by unit; `pasts` is what each has seen before, and is moved on."""
    length = x_1C1L.shape[-1]
    for (one, two), past in zip(units, pasts, strict=True):
        keep = past.shape[-1]
        joined = room(x_1C1L.shape[1], keep + length)
        joined[..., :keep] = past
        torch.ops.aten.leaky_relu.out(x_1C1L, slope, out=joined[..., keep:])
        past.copy_(joined[..., length:])
        between = convolved(joined, one, slope=slope)
        if first:
            between[..., : two.reach] = 0  # nothing came before
        add_convolved(x_1C1L, between, two)


def window(source_1C1L: Tensor, *, start: int, size: int, conv: Conv) -> Tensor:
    """What a convolution makes so many moments of, with zeros behind the end."""
    begin, wanted = start * conv.stride, conv.reach + (size - 1) * conv.stride + 1
    found = source_1C1L[..., begin : begin + wanted]
    return functional.pad(found, (0, wanted - found.shape[-1])) if found.shape[-1] < wanted else found


def convolved(x_1C1L: Tensor, conv: Conv, *, slope: float | None = None) -> Tensor:
    """A convolution of what has its history in front, then a leaky ReLU where there is a slope."""
    name, numbers = ("none", []) if slope is None else ("leaky_relu", [slope])
    place = [0, 0], [1, conv.stride], [1, conv.dilation], 1
    made = torch.ops.mkldnn._convolution_pointwise(x_1C1L, conv.weight, conv.bias, *place, name, numbers, "")
    return cast(Tensor, made)


def add_convolved(sum_1C1L: Tensor, x_1C1L: Tensor, conv: Conv) -> None:
    """A convolution of what has its history in front, added to a tensor in place."""
    place = [0, 0], [1, conv.stride], [1, conv.dilation], 1
    torch.ops.mkldnn._convolution_pointwise_.binary(
        sum_1C1L, x_1C1L, conv.weight, conv.bias, *place, "add", 1.0, None, [], None
    )


def packed(weight_OIK: Tensor, *, stride: int, dilation: int, length: int) -> Tensor:
    """A weight in the order that oneDNN reads it for signals of about that length."""
    shape = [1, weight_OIK.shape[1], 1, length]
    made = torch.ops.mkldnn._reorder_convolution_weight(
        weight_OIK.detach().unsqueeze(2), [0, 0], [1, stride], [1, dilation], 1, shape
    )
    return cast(Tensor, made)


def room(channels: int, length: int, *, zeros: int = 0) -> Tensor:
    """Memory for a signal, (1, C, 1, length), of which the first moments are zero."""
    made = torch.empty(1, 1, length, channels).permute(0, 3, 1, 2)
    made[..., :zeros] = 0
    return made
