"""Least-squares adversarial losses and feature matching (HiFi-GAN, BigVGAN), summed over sub-discriminators."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

Features = Sequence[Sequence[Tensor]]
"""Feature maps of every layer of every sub-discriminator."""


def discriminator_loss(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Sum over k of mean (1 - D_k(x))^2 + mean D_k(x^)^2, from score maps."""
    return torch.stack([(1 - r).square().mean() + m.square().mean() for r, m in zip(real, made, strict=True)]).sum()


def generator_loss(made: Sequence[Tensor]) -> Tensor:
    """Sum over k of mean (1 - D_k(x^))^2."""
    return torch.stack([(1 - score).square().mean() for score in made]).sum()


def feature_distance(real: Features, made: Features) -> Tensor:
    """2 times the sum over k and layers of mean |f(x) - f(x^)|; the 2 is the published weight of the term."""
    pairs = [(r, m) for of_real, of_made in zip(real, made, strict=True) for r, m in zip(of_real, of_made, strict=True)]
    return 2 * torch.stack([functional.l1_loss(m, r.detach()) for r, m in pairs]).sum()
