"""Linear layers of the backbone: by oneDNN on a CPU in float32, packed once for inference; elsewhere as torch has them.

torch multiplies float32 matrices with MKL, and every call lays the weights out anew. Measured on one core of an AMD
EPYC (Zen 5), in GFLOP/s, 512 to 2048 wide: 10 rows 41 by MKL, 58 by oneDNN, 92 by oneDNN with packed weights; 100 rows
85, 180, 208; 1870 rows and their gradients 103, 215. A patch of speech is made of many products of 10 rows.
"""

from collections.abc import Sequence
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.packing import Packs, fit_for_onednn, multiply, pack

Activation = Literal["none", "gelu_tanh", "silu"]
ONEDNN: dict[str, tuple[str, str]] = {"none": ("none", ""), "gelu_tanh": ("gelu", "tanh"), "silu": ("swish", "")}
"""Activation -> what oneDNN calls it: computed on each block of the product while that is in the cache."""


class Linear(Packs, nn.Linear):
    """A linear layer; same names, shapes and values as torch's."""

    @classmethod
    def sharing(cls, other: nn.Linear) -> Self:
        """One with the parameters of another."""
        made = cls(other.in_features, other.out_features, bias=other.bias is not None, device="meta")
        made.weight, made.bias = other.weight, other.bias
        return made

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        return project(x, [self])


def project(x: Tensor, layers: Sequence[Linear], *, activation: Activation = "none") -> Tensor:
    """What layers that read the same input make of it, side by side: (..., I) -> (..., O of all), activated."""
    if not fit_for_onednn(x, layers[0].weight):
        return activated(functional.linear(x, *joined_once(layers)), activation)
    if not torch.is_grad_enabled():
        weight, bias = packed(layers)
        return multiply(x, weight, bias, then=ONEDNN[activation])
    made = Product.apply(x, *joined(layers))  # type: ignore[no-untyped-call]
    return activated(cast(Tensor, made), activation)


def project_seldom(x: Tensor, layer: nn.Linear) -> Tensor:
    """Few rows by a layer that speech calls once a generation, so that nothing is packed; with gradients by oneDNN."""
    if torch.is_grad_enabled() and fit_for_onednn(x, layer.weight):
        return cast(Tensor, Product.apply(x, layer.weight, layer.bias))  # type: ignore[no-untyped-call]
    return functional.linear(x, layer.weight, layer.bias)


def joined(layers: Sequence[Linear]) -> tuple[Tensor, Tensor | None]:
    """Weights and biases of layers, one below the other."""
    if len(layers) == 1:
        return layers[0].weight, layers[0].bias
    bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    return torch.cat([layer.weight for layer in layers]), bias


def joined_once(layers: Sequence[Linear]) -> tuple[Tensor, Tensor | None]:
    """`joined`, kept by the first layer where it may be: on a GPU, joining reads and writes more than the product."""
    parameters = [part for layer in layers for part in (layer.weight, layer.bias)]
    if len(layers) == 1 or torch.is_grad_enabled() or not layers[0].packable(parameters):
        return joined(layers)
    return layers[0].kept(parameters, lambda: joined(layers))


def packed(layers: Sequence[Linear]) -> tuple[Tensor, Tensor | None]:
    """`joined`, with the weight packed where it may be; the first layer keeps it then."""
    parameters = [part for layer in layers for part in (layer.weight, layer.bias)]
    if not layers[0].packable(parameters):
        return joined(layers)

    def make() -> tuple[Tensor, Tensor | None]:
        weight, bias = joined(layers)
        return pack(weight), bias

    return layers[0].kept(parameters, make, key="packed")


def activated(x: Tensor, activation: Activation) -> Tensor:
    """The activation by torch."""
    if activation == "gelu_tanh":
        return functional.gelu(x, approximate="tanh")
    return functional.silu(x) if activation == "silu" else x


class Product(torch.autograd.Function):
    """x W^T + b, and its gradients, each one product by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return multiply(x.detach(), weight.detach(), None if bias is None else bias.detach())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_NO, x_NI = grad.reshape(-1, grad.shape[-1]), x.detach().reshape(-1, x.shape[-1])
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            multiply(grad_NO, weight.detach().t()).view(x.shape) if of_x else None,
            multiply(grad_NO.t(), x_NI.t()) if of_weight else None,
            grad_NO.sum(0) if of_bias and ctx.biased else None,
        )
