"""Flow-matching loss: how far the said velocity is from the wanted one, a patch at a time."""

import torch
from torch import Tensor

from training.objectives import Term


def patch_error(predicted_BFD: Tensor, wanted_BFD: Tensor, *, frames: int) -> Tensor:
    """Mean squared error of each patch of `frames` frames, at least in float32: (B, P * K, D) twice -> (B, P)."""
    dtype = torch.promote_types(predicted_BFD.dtype, torch.float32)
    square_BFD = (predicted_BFD.to(dtype) - wanted_BFD.to(dtype)).square()
    B, F, D = square_BFD.shape
    return square_BFD.reshape(B, F // frames, frames * D).mean(dim=-1)


def over_patches(error_BP: Tensor, valid_BP: Tensor) -> Term:
    """Sum over real patches and their number (paper, equation 3: the mean is over all patches of a step).

    Padded patches may hold anything, NaN included.
    """
    return Term(error_BP.masked_fill(~valid_BP, 0.0).sum(), count(valid_BP))


def count(valid_BP: Tensor) -> Tensor:
    """How many patches are real."""
    return valid_BP.float().sum()
