"""Divergence of the AudioVAE's posterior from its prior, through a flow."""

from typing import Literal

from torch import Tensor

Form = Literal["sample", "mean"]


def kl_through_flow(flowed_BFD: Tensor, log_std_BFD: Tensor, *, form: Form = "sample") -> Tensor:
    """KL an element, (B, F, D), for z' = flow(z), z = mean + std * noise, and a flow of unit Jacobian.

    `sample`: -log s - 1/2 + z'^2 / 2, one sample of the expectation (VITS, KALL-E).
    `mean`: adds s^2 / 2, z' taken for the mean: biased up, but it bounds the deviation (BigVGAN-flow-VAE).
    """
    kl_BFD = -log_std_BFD - 0.5 + 0.5 * flowed_BFD.square()
    return kl_BFD + 0.5 * (2 * log_std_BFD).exp() if form == "mean" else kl_BFD
