"""Chains of small operations as one kernel: torch.compile of single functions, while somebody asks for it.

A patch of speech is some thousand small kernels, each about 3 us of a GPU whatever it does. What is marked `fusable`
takes tensors and numbers alone, so one compiled function serves all layers. Sizes that change become symbols.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch

Given = ParamSpec("Given")
Made = TypeVar("Made")

RECOMPILED = 64
"""Forms of one function at most: types, and sizes of 1, are told apart."""

_backend: ContextVar[str | None] = ContextVar("fusing", default=None)


@contextmanager
def fusing(backend: str | None = "inductor") -> Iterator[None]:
    """While it lasts, this thread runs `fusable` functions compiled by a backend of torch; None: as written."""
    if backend is None:
        yield
        return
    import torch._dynamo

    token = _backend.set(backend)
    try:
        with torch._dynamo.config.patch(recompile_limit=RECOMPILED):
            yield
    finally:
        _backend.reset(token)


def is_fusing() -> bool:
    """Whether this thread runs compiled functions now; never inside what somebody else compiles."""
    return not torch.compiler.is_compiling() and _backend.get() is not None


def fusable(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """Compile a function of tensors and numbers while `fusing` lasts."""

    @wraps(function)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        if torch.compiler.is_compiling() or (backend := _backend.get()) is None:
            return function(*args, **kwargs)
        made: Made = compiled(function, backend)(*args, **kwargs)
        return made

    return call


@cache
def compiled(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """The function by that backend, made once."""
    return torch.compile(function, backend=backend, fullgraph=True)
