"""Identities of the divergence through a flow."""

import torch
from torch.distributions import Normal, kl_divergence

from models.audiovae.flow import PosteriorFlow
from training.losses.kl import kl_through_flow

MEAN, LOG_STD = torch.tensor([0.7, -1.2, 0.0, 2.0]), torch.tensor([-0.5, 0.3, -2.0, 0.0])
KL = kl_divergence(Normal(MEAN, LOG_STD.exp()), Normal(0.0, 1.0))


@torch.no_grad()
def test_a_flow_at_its_start_estimates_the_gaussian_divergence() -> None:
    mean, log_std = MEAN.expand(1, 100_000, 4), LOG_STD.expand(1, 100_000, 4)
    noise = torch.randn(1, 100_000, 4, generator=torch.Generator().manual_seed(0))
    latent = mean + noise * log_std.exp()
    flowed = PosteriorFlow(4, hidden=8, couplings=2)(latent)
    found = kl_through_flow(flowed, log_std).mean()
    torch.testing.assert_close(found, KL.mean(), rtol=0.01, atol=0)


def test_the_prior_itself_has_no_divergence() -> None:
    zero = torch.zeros(4)
    assert float(kl_through_flow(zero, zero, form="mean").abs().max()) == 0.0


def test_the_mean_form_adds_half_the_variance() -> None:
    difference = kl_through_flow(MEAN, LOG_STD, form="mean") - kl_through_flow(MEAN, LOG_STD)
    torch.testing.assert_close(difference, 0.5 * (2 * LOG_STD).exp())
    torch.testing.assert_close(kl_through_flow(MEAN, LOG_STD, form="mean"), KL)
