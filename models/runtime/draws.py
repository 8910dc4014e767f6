"""The random numbers of one request: its own generator, or numbers that were recorded."""

from collections.abc import Iterable

import torch
from torch import Tensor

from models.runtime.prompt import RequestError


class Draws:
    """The random numbers of one request, in the order of the official code; nothing global is read or moved.

    The order: where a prompt longer than its x-vector's limit is cropped (a whole number), the prompt's latents, then
    a patch at a time its noise, and for sCM the noise between its two steps.
    """

    def __init__(self, *, seed: int = 0, recorded: Iterable[Tensor] | None = None) -> None:
        self._generator = torch.Generator().manual_seed(int(seed))
        self._recorded = None if recorded is None else iter(recorded)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, or the next recorded ones."""
        if self._recorded is None:
            return torch.randn(shape, generator=self._generator)
        return self._next(shape)

    def below(self, limit: int) -> int:
        """A whole number in [0, limit), or the next recorded one."""
        if self._recorded is None:
            return int(torch.randint(limit, (1,), generator=self._generator))
        return int(self._next(()))

    def _next(self, shape: tuple[int, ...]) -> Tensor:
        assert self._recorded is not None
        value = next(self._recorded, None)
        if value is None or tuple(value.shape) != shape:
            found = "nothing more" if value is None else list(value.shape)
            raise RequestError(f"the recorded draws do not fit: {list(shape)} is needed, and there is {found}")
        return value
