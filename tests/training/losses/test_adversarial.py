"""Identities of the adversarial losses."""

import torch

from training.losses.adversarial import discriminator_loss, feature_distance, generator_loss


def test_a_perfect_discriminator_has_no_loss() -> None:
    ones, zeros = [torch.ones(2, 5)] * 8, [torch.zeros(2, 5)] * 8
    assert float(discriminator_loss(ones, zeros)) == 0.0
    assert float(generator_loss(zeros)) == 8.0
    assert float(generator_loss(ones)) == 0.0


def test_an_undecided_discriminator_costs_a_half_each() -> None:
    half = [torch.full((2, 5), 0.5)] * 6
    assert float(discriminator_loss(half, half)) == 3.0


def test_equal_features_have_no_distance_and_others_count_twice() -> None:
    maps = [[torch.randn(2, 3, 4), torch.randn(2, 5)], [torch.randn(2, 1)]]
    assert float(feature_distance(maps, maps)) == 0.0
    shifted = [[layer + 1 for layer in judge] for judge in maps]
    torch.testing.assert_close(feature_distance(maps, shifted), torch.tensor(6.0))


def test_features_of_recordings_get_no_gradient() -> None:
    real, made = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    feature_distance([[real]], [[made]]).backward()
    assert real.grad is None
    assert made.grad is not None
