"""Filters and short convolutions as matrix products: for speech on a CPU, where no gradient is wanted.

An alias-free filter is the product of blocks of the signal with a matrix that holds the taps on a diagonal band. It
computes more than shifted copies do, and reads and writes the signal once: 0.35 ms instead of 0.45 an activation of
64 x 960 samples (one core). A convolution of few samples by many channels, which torch does not give to oneDNN, takes
0.17 ms instead of 0.41 (256 channels, 7 taps, 40 samples), the first upsampling 0.2 ms instead of 5.8.
"""

import torch
from torch import Tensor

from models.packing import fit_for_onednn, multiply, pack

BLOCK = 20
"""Samples, before doubling, that one row of a product makes at most."""
SHORT = 20480
"""Numbers up to which torch convolves one signal without oneDNN."""


def block_of(length: int) -> int:
    """Samples a block, of which a signal of that length has a whole number."""
    return next(block for block in range(BLOCK, 0, -1) if length % block == 0)


def filters_fit(x_BCL: Tensor, taps: Tensor) -> bool:
    """Whether a filter can be applied so: one for all channels."""
    one = taps.numel() == taps.shape[-1]
    return one and x_BCL.shape[-1] > 0 and not torch.is_grad_enabled() and fit_for_onednn(x_BCL, taps)


def short(x_BCL: Tensor, weight: Tensor) -> bool:
    """Whether a convolution of this is worth a product of its own."""
    few = x_BCL.shape[0] == 1 and 0 < x_BCL.numel() <= SHORT and weight.shape[0] >= 64
    return few and not torch.is_grad_enabled() and fit_for_onednn(x_BCL, weight)


def doubling(taps_K: Tensor, *, block: int) -> Tensor:
    """Matrix (2 block, block + K / 2 - 1) from x[t - K / 2 + 1 ...] to u: u[2t + p] = 2 sum_k f[2k + p] x[t - k]."""
    reach, time = taps_K.shape[0] // 2, torch.arange(block)
    matrix = taps_K.new_zeros(block, 2, block + reach - 1)
    for k in range(reach):
        matrix[time, :, time + reach - 1 - k] = 2 * taps_K[2 * k : 2 * k + 2]
    return pack(matrix.flatten(0, 1))


def halving(taps_K: Tensor, *, block: int) -> Tensor:
    """Matrix (block, 2 block + K - 2) from u[2t - K + 1 ...] to y: y[t] = sum_m f[m] u[2t - K + 1 + m]."""
    taps, time = taps_K.shape[0], torch.arange(block)
    matrix = taps_K.new_zeros(block, 2 * block + taps - 2)
    for m in range(taps):
        matrix[time, 2 * time + m] = taps_K[m]
    return pack(matrix)


def filtered(joined_BCL: Tensor, matrix: Tensor, *, window: int, step: int) -> Tensor:
    """Windows of the signal times the matrix, one behind the other: (B, C, L) -> (B, C, L')."""
    return multiply(joined_BCL.unfold(-1, window, step), matrix).flatten(2)


def taps_side_by_side(weight_OIK: Tensor) -> Tensor:
    """Matrix (O, K * I) of a convolution."""
    return pack(weight_OIK.transpose(1, 2).flatten(1))


def convolved(x_1CL: Tensor, matrix: Tensor, bias: Tensor | None, *, kernel: int, dilation: int) -> Tensor:
    """A convolution of what is padded already: (1, C, L + reach) -> (1, C', L)."""
    _, C, columns = x_1CL.shape
    length = columns - (kernel - 1) * dilation
    x_LC = x_1CL[0].t().contiguous()
    windows_LI = x_LC.as_strided((length, kernel, C), (C, dilation * C, 1)).reshape(length, kernel * C)
    return multiply(windows_LI, matrix, bias).t().contiguous()[None]


def steps_side_by_side(weight_IOK: Tensor) -> Tensor:
    """Matrix (stride * O, 2 * I) of a transposed convolution whose kernel is two strides: what a step and the one
    before it give to the samples of the step."""
    stride = weight_IOK.shape[2] // 2
    before_IOR, now_IOR = weight_IOK[..., stride:], weight_IOK[..., :stride]
    return pack(torch.cat([before_IOR, now_IOR]).permute(2, 1, 0).flatten(0, 1))


def upsampled(joined_1CL: Tensor, matrix: Tensor, bias: Tensor | None, *, stride: int) -> Tensor:
    """A transposed convolution, of which only whole steps are given: (1, C, 1 + L) -> (1, C', L * stride)."""
    x_LC = joined_1CL[0].t()
    made_LS = multiply(torch.cat([x_LC[:-1], x_LC[1:]], dim=1), matrix)
    made_1CS = made_LS.view(made_LS.shape[0], stride, -1).permute(2, 0, 1).flatten(1)[None]
    return made_1CS if bias is None else made_1CS + bias[:, None]
