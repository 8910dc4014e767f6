"""Linear layers of the backbone: by oneDNN on a CPU in float32, packed once for inference; elsewhere as torch has them.

torch multiplies float32 matrices with MKL, and every call lays the weights out anew. Measured on one core of an AMD
EPYC (Zen 5), in GFLOP/s, 512 to 2048 wide: 10 rows 41 by MKL, 58 by oneDNN, 92 by oneDNN with packed weights; 100 rows
85, 180, 208; 1870 rows and their gradients 103, 215. A patch of speech is made of many products of 10 rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Literal["none", "gelu_tanh", "silu"]
ONEDNN: dict[str, tuple[str, str]] = {"none": ("none", ""), "gelu_tanh": ("gelu", "tanh"), "silu": ("swish", "")}
"""Activation -> what oneDNN calls it: computed on each block of the product while that is in the cache."""


@dataclass(frozen=True)
class Packed:
    """Weights in the order that oneDNN reads them, a copy that belongs to one state of the layers."""

    stamp: tuple[tuple[int, int], ...]
    weight: Tensor
    bias: Tensor | None


class Linear(nn.Linear):
    """A linear layer; same names, shapes and values as torch's."""

    packed: Packed | None = None

    @classmethod
    def sharing(cls, other: nn.Linear) -> Self:
        """One with the parameters of another."""
        made = cls(other.in_features, other.out_features, bias=other.bias is not None, device="meta")
        made.weight, made.bias = other.weight, other.bias
        return made

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        return project(x, [self])

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Moved to another device or type: packed anew."""
        self.packed = None
        return cast(Self, super()._apply(fn, recurse))  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        """A copy packs its own weights."""
        return {name: value for name, value in self.__dict__.items() if name != "packed"}


def project(x: Tensor, layers: Sequence[Linear], *, activation: Activation = "none") -> Tensor:
    """What layers that read the same input make of it, side by side: (..., I) -> (..., O of all), activated."""
    if not fit_for_onednn(x, layers[0].weight):
        return activated(functional.linear(x, *joined(layers)), activation)
    if not torch.is_grad_enabled():
        packed = packed_weights(layers)
        weight, bias = joined(layers) if packed is None else (packed.weight, packed.bias)
        return onednn(x, weight, bias, activation=activation)
    made = Product.apply(x, *joined(layers))  # type: ignore[no-untyped-call]
    return activated(cast(Tensor, made), activation)


def fit_for_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether these are multiplied on a CPU in float32, and torch was built with oneDNN."""
    plain = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    return plain and torch._C._has_mkldnn and not torch.is_autocast_enabled("cpu")


def joined(layers: Sequence[Linear]) -> tuple[Tensor, Tensor | None]:
    """Weights and biases of layers, one below the other."""
    if len(layers) == 1:
        return layers[0].weight, layers[0].bias
    bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    return torch.cat([layer.weight for layer in layers]), bias


def packed_weights(layers: Sequence[Linear]) -> Packed | None:
    """The packed weights of layers, kept by the first of them until any changes; None where they may change unseen.

    What is trained may: an optimizer that writes through `.data`, or through a flat buffer, as DeepSpeed's does, leaves
    address and version of a parameter as they are. So only what is in eval mode and takes no gradient is packed.
    """
    parameters = [part for layer in layers for part in (layer.weight, layer.bias) if part is not None]
    trained = any(layer.training for layer in layers) or any(part.requires_grad for part in parameters)
    if trained or any(part.is_inference() for part in parameters):
        return None
    stamp = tuple((part.data_ptr(), part._version) for part in parameters)
    packed = layers[0].packed
    if packed is None or packed.stamp != stamp:
        weight, bias = joined(layers)
        packed = Packed(stamp, torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None), bias)
        layers[0].packed = packed
    return packed


def onednn(x: Tensor, weight: Tensor, bias: Tensor | None, *, activation: Activation = "none") -> Tensor:
    """activation(x W^T + b) by oneDNN, without a gradient; `weight` may be packed."""
    name, form = ONEDNN[activation]
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, name, [], form))


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
        return onednn(x.detach(), weight.detach(), None if bias is None else bias.detach())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_NO, x_NI = grad.reshape(-1, grad.shape[-1]), x.detach().reshape(-1, x.shape[-1])
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            onednn(grad_NO, weight.detach().t(), None).view(x.shape) if of_x else None,
            onednn(grad_NO.t(), x_NI.t(), None) if of_weight else None,
            grad_NO.sum(0) if of_bias and ctx.biased else None,
        )
