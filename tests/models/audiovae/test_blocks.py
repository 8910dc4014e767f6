"""Alias-free activations: gradients by hand, filters by shifted copies, both against plain torch."""

import pytest
import torch
from torch.nn import functional

from models.audiovae.alias_free import AliasFree, SnakeBeta, gather, kaiser_sinc, spread
from models.audiovae.blocks import WeightNormConv


@pytest.mark.parametrize("trained", [False, True])
def test_activation_has_the_right_gradients(trained: bool) -> None:
    torch.manual_seed(0)
    activation = AliasFree(3, trained_filters=trained).double()
    torch.nn.init.normal_(activation.act.alpha)
    torch.nn.init.normal_(activation.act.beta)
    x_BCL = torch.randn(2, 3, 9, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: activation(x), (x_BCL, *activation.parameters()))


@torch.no_grad()
def test_activation_equals_the_textbook_form() -> None:
    torch.manual_seed(1)
    activation, x_BCL = AliasFree(3), torch.randn(2, 3, 20)
    torch.nn.init.normal_(activation.act.alpha)
    taps = kaiser_sinc().expand(3, 1, 12)
    up = 2 * functional.conv_transpose1d(x_BCL, taps, stride=2, groups=3)[..., :-10]
    alpha, beta = activation.act.alpha.exp().view(1, 3, 1), activation.act.beta.exp().view(1, 3, 1)
    up = up + torch.sin(up * alpha).square() / (beta + 1e-9)
    down = functional.conv1d(functional.pad(up, (11, 0), mode="replicate"), taps, stride=2, groups=3)
    torch.testing.assert_close(activation(x_BCL), down, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_trained_filters_start_as_the_fixed_ones() -> None:
    x_BCL = torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(2))
    fixed, trained = AliasFree(3), AliasFree(3, trained_filters=True)
    torch.testing.assert_close(fixed(x_BCL), trained(x_BCL), atol=1e-6, rtol=1e-5)
    assert {name for name, _ in fixed.named_parameters()} == {"act.alpha", "act.beta"}
    assert "upsample.filter" in dict(trained.named_parameters())


def test_shifted_copies_are_a_convolution() -> None:
    draw = torch.Generator().manual_seed(3)
    x, taps = torch.randn(2, 3, 15, generator=draw), torch.randn(2, 6, generator=draw)
    wanted = functional.conv1d(x.reshape(6, 1, 15), taps.unsqueeze(1)).view(2, 3, 2, 10)
    torch.testing.assert_close(spread(x, taps.tolist()), wanted, atol=1e-5, rtol=1e-5)
    both = torch.randn(2, 3, 2, 15, generator=draw)
    wanted = functional.conv1d(both.reshape(6, 2, 15), taps.unsqueeze(0)).view(2, 3, 10)
    torch.testing.assert_close(gather(both, taps.tolist()), wanted, atol=1e-5, rtol=1e-5)


def test_snake_leaves_the_line_by_a_bounded_swing() -> None:
    x = torch.linspace(-5, 5, 101).view(1, 1, -1)
    swing = SnakeBeta(1)(x) - x
    assert float(swing.detach().min()) >= 0
    assert float(swing.detach().max()) == pytest.approx(1.0, abs=1e-3)


def test_weight_norm_splits_length_from_direction() -> None:
    conv = WeightNormConv(3, 4, 5)
    with torch.no_grad():
        conv.weight_v.mul_(7.0)
        conv.weight_g.fill_(2.0)
    torch.testing.assert_close(conv.weight.detach().norm(dim=(1, 2)), torch.full((4,), 2.0))
