"""The linear layers of the backbone say what torch's say, with every gradient, and follow their weights."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbone.linear import Linear, project


def made(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layers(*widths: int, inside: int = 48, bias: bool = True) -> list[Linear]:
    built = [Linear(inside, width, bias=bias) for width in widths]
    for number, part in enumerate(part for layer in built for part in layer.parameters()):
        part.data = made(*part.shape, seed=number)
    return built


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 48), (2, 5, 48), (3, 1, 7, 48)])
def test_layers_side_by_side_say_what_torch_says_with_all_gradients(bias: bool, shape: tuple[int, ...]) -> None:
    some, x = layers(32, 80, bias=bias), made(*shape, seed=9).requires_grad_()
    expected = torch.cat([functional.linear(x, layer.weight, layer.bias) for layer in some], dim=-1)
    found = project(x, some)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    inputs = [x, *(part for layer in some for part in layer.parameters())]
    weight = made(*expected.shape, seed=3)
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(project(x, some), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(project(x.transpose(0, -2), some), expected.transpose(0, -2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "torchs"), [("silu", nn.SiLU()), ("gelu_tanh", nn.GELU(approximate="tanh"))])
def test_an_activation_is_the_same_with_and_without_a_gradient(name: str, torchs: nn.Module) -> None:
    (layer,), x = layers(64), made(4, 48, seed=9)
    expected = torchs(functional.linear(x, layer.weight, layer.bias))
    torch.testing.assert_close(project(x, [layer], activation=name), expected, rtol=1e-5, atol=1e-5)  # type: ignore[arg-type]
    with torch.no_grad():
        torch.testing.assert_close(project(x, [layer], activation=name), expected, rtol=1e-5, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("trained", ["in training mode", "with a gradient"])
def test_what_is_trained_is_not_packed_since_it_may_change_unseen(trained: str) -> None:
    layer, flat, x = Linear(48, 64, bias=False), made(64 * 48, seed=1), made(4, 48, seed=9)
    layer.weight.data = flat.view(64, 48)  # as DeepSpeed has it: parameters are views of one buffer
    layer.train(trained == "in training mode").requires_grad_(trained == "with a gradient")
    with torch.no_grad():
        assert layer(x).abs().max() > 0
        flat.data.copy_(torch.zeros(64 * 48))
        assert torch.equal(layer(x), torch.zeros(4, 64))
    assert layer.packed is None


def test_weights_made_in_inference_mode_are_used_as_they_are() -> None:
    x = made(4, 48, seed=9)
    with torch.inference_mode():
        layer = Linear(48, 64).eval().requires_grad_(False)
        torch.testing.assert_close(layer(x), functional.linear(x, layer.weight, layer.bias), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_packed_weights_follow_the_layer() -> None:
    (layer,), x = layers(64), made(4, 48, seed=9)
    layer.eval().requires_grad_(False)
    before = layer(x)
    assert layer.packed is not None
    layer.weight.mul_(2.0)
    assert torch.allclose(layer(x) - layer.bias, 2 * (before - layer.bias), atol=1e-4)
    layer.load_state_dict({"weight": made(64, 48, seed=5), "bias": torch.zeros(64)})
    torch.testing.assert_close(layer(x), x @ made(64, 48, seed=5).t(), rtol=1e-5, atol=1e-5)
    layer.double()
    torch.testing.assert_close(layer(x.double()), x.double() @ made(64, 48, seed=5).t().double())
    layer.weight = nn.Parameter(torch.zeros(64, 48))
    layer.bias = nn.Parameter(torch.ones(64))
    assert torch.equal(layer(x), torch.ones(4, 64))


def test_layers_that_spoke_in_float32_speak_in_bfloat16_and_back() -> None:
    layers = [Linear(8, 4).eval().requires_grad_(False) for _ in range(2)]
    x = torch.randn(3, 8)
    with torch.no_grad():
        before = project(x, layers)
        with torch.autocast("cpu", torch.bfloat16):
            half = project(x, layers)
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), before, atol=0.05, rtol=0.05)
        assert torch.equal(project(x, layers), before)


@torch.no_grad()
def test_copies_take_no_packed_weights_with_them_and_change_alone() -> None:
    (layer,), x = layers(64), made(4, 48, seed=9)
    layer.eval().requires_grad_(False)
    expected = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.packed is None
        assert torch.equal(other(x), expected)
        other.weight.zero_()
        assert torch.equal(layer(x), expected)
    assert list(layer.state_dict()) == ["weight", "bias"]
