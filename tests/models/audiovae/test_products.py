"""Filters and convolutions as matrix products say what torch's layers say, on the whole signal and in chunks."""

import copy

import pytest
import torch
from torch import Tensor, nn

from models.audiovae.alias_free import AliasFree
from models.audiovae.blocks import Carry, CausalConv, CausalUp


def made(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layers() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    active = AliasFree(6)
    active.act.alpha.data, active.act.beta.data = made(6, seed=1), made(6, seed=2)
    return {
        "activation": active,
        "convolution": CausalConv(64, 64, 7),
        "dilated": CausalConv(64, 80, 3, dilation=5, bias=False),
        "upsampling": CausalUp(64, 128, 5),
    }


@pytest.mark.parametrize("name", list(layers()))
def test_products_say_what_the_layer_says_where_a_gradient_is_wanted(name: str) -> None:
    layer = layers()[name]
    x = made(1, 6 if name == "activation" else 64, 120, seed=3)
    expected = layer(x)  # with a gradient: torch's own convolutions and shifted copies
    carry: Carry = {}
    layer.eval().requires_grad_(False)
    with torch.no_grad():
        whole = layer(x)
        chunks = torch.cat([layer(part, carry) for part in torch.split(x, [20, 43, 10, 7, 40], dim=-1)], dim=-1)
    torch.testing.assert_close(whole, expected, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(chunks, expected, rtol=1e-5, atol=2e-5)


@torch.no_grad()
def test_products_follow_the_weights_and_copies_make_their_own() -> None:
    conv, x = layers()["convolution"].eval().requires_grad_(False), made(1, 64, 40, seed=3)
    assert isinstance(conv, CausalConv)
    assert conv.bias is not None
    before = conv(x)
    assert conv.packed is not None
    other = copy.deepcopy(conv)
    assert other.packed is None
    other.weight.mul_(2.0)
    torch.testing.assert_close(other(x) - conv.bias[:, None], 2 * (before - conv.bias[:, None]), rtol=1e-4, atol=1e-4)
    assert torch.equal(conv(x), before)
