"""Balanced stop loss: half of an utterance's weight on its last patch, half on all the others together."""

import torch
from torch import Tensor
from torch.nn import functional

from models.backbone.layout import valid_patches
from training.objectives import Term


def stop_weights(patches_B: Tensor, longest: int) -> Tensor:
    """0.5 for the last patch, 0.5 / (n - 1) for each other, 1 for an only one (paper, equation 4): (B,) -> (B, P)."""
    number_P = torch.arange(longest, device=patches_B.device)
    count_B1 = patches_B[:, None].float()
    others_B1 = 0.5 / (count_B1 - 1).clamp(min=1)
    last_B1 = torch.where(count_B1 == 1, 1.0, 0.5)
    weight_BP = torch.where(number_P[None] == patches_B[:, None] - 1, last_B1, others_B1)
    return weight_BP * valid_patches(patches_B, longest)


def stop_loss(logits_BP2: Tensor, patches_B: Tensor) -> Term:
    """Cross-entropy of `stop` at the hidden state that makes the last patch, `go on` at all others.

    Every utterance weighs 1, so the mean is over utterances: ln 2 for a head that knows nothing.
    """
    B, P, _ = logits_BP2.shape
    weight_BP = stop_weights(patches_B, P)  # `stop_count` is its sum
    label_BP = (torch.arange(P, device=patches_B.device)[None] == patches_B[:, None] - 1).long()
    error_BP = functional.cross_entropy(logits_BP2.float().flatten(0, 1), label_BP.flatten(), reduction="none")
    return Term((error_BP.reshape(B, P) * weight_BP).sum(), weight_BP.sum())


def stop_count(patches_B: Tensor, longest: int) -> Tensor:
    """The count of `stop_loss`: 1 an utterance, up to rounding."""
    return stop_weights(patches_B, longest).sum()
