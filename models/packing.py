"""What a module makes of its weights for inference: kept until they change, never saved, never copied."""

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar, cast

import torch
from torch import Tensor, nn

Made = TypeVar("Made")


class Packs(nn.Module):
    """To be mixed into a module.

    What is trained may change unseen: an optimizer that writes through `.data`, or through a flat buffer, as
    DeepSpeed's does, leaves address and version of a parameter as they are. So only what is in eval mode and takes no
    gradient is packed.
    """

    packed: tuple[object, object] | None = None

    def packable(self, weights: Sequence[Tensor | None]) -> bool:
        """Whether a change of these weights would be seen."""
        return not self.training and not any(
            part.requires_grad or part.is_inference() for part in weights if part is not None
        )

    def kept(self, weights: Sequence[Tensor | None], make: Callable[[], Made], *, key: object = None) -> Made:
        """What `make` made of these packable weights (and of `key`), made anew where one of them has changed."""
        stamp = (key, *((part.data_ptr(), part._version) for part in weights if part is not None))
        packed = self.packed  # read once, since another thread may keep something else here meanwhile
        if packed is None or packed[0] != stamp:
            packed = self.packed = (stamp, make())
        return cast(Made, packed[1])

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Moved to another device or type: made anew. Else kept: graphs of a GPU read it where it lies."""
        before = self.own_places()
        moved = cast(Self, super()._apply(fn, recurse))  # type: ignore[no-untyped-call]
        if self.own_places() != before:
            self.packed = None
        return moved

    def own_places(self) -> list[object]:
        """Where the weights under this module are."""
        return [(part.data_ptr(), part.device, part.dtype) for part in (*self.parameters(), *self.buffers())]

    def __getstate__(self) -> dict[str, Any]:
        """A copy makes its own."""
        return {name: value for name, value in self.__dict__.items() if name != "packed"}


def fit_for_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether these are multiplied on a CPU in float32, and torch was built with oneDNN."""
    plain = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    return plain and torch._C._has_mkldnn and not torch.is_autocast_enabled("cpu")


def pack(matrix_OI: Tensor) -> Tensor:
    """A matrix in the order that oneDNN reads it, good for any number of rows."""
    return cast(Tensor, torch.ops.mkldnn._reorder_linear_weight(matrix_OI.detach(), None))


def multiply(x: Tensor, matrix: Tensor, bias: Tensor | None = None, *, then: tuple[str, str] = ("none", "")) -> Tensor:
    """x M^T + b by oneDNN, without a gradient; the matrix may be packed. `then`: an activation and its form."""
    name, form = then
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, matrix, bias, name, [], form))
