"""What the measures of official_gpu.py share: the model, clocks, and where lines go."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from official_model import random_bundle_on
from official_side import TEXT
from torch import Tensor

from models.runtime.batch import steps
from models.runtime.bundle import Bundle
from models.runtime.precision import place
from models.runtime.request import Request

FLOW: dict[str, Any] = {"num_steps": 10, "guidance_scale": 1.2}
MEANFLOW: dict[str, Any] = {"num_steps": 4}


@dataclass(frozen=True)
class Case:
    """What is measured."""

    config: str
    device: str
    precision: Any
    patches: int
    longest: int
    rounds: int
    put: Callable[[tuple[str, dict[str, Any]]], None] = print
    """Where lines and numbers go."""

    def tell(self, line: str, numbers: dict[str, Any] | None = None) -> None:
        """A line, and its numbers."""
        self.put((line, numbers or {}))

    def bundle(self, *, meanflow: bool, config: str | None = None, precision: Any = None) -> Bundle:
        """A model on the device, which speaks by graphs."""
        bundle = random_bundle_on(self.device, config or self.config, meanflow=meanflow)
        bundle = place(bundle, device=self.device, precision=precision or self.precision, graphs=True)
        self.now()
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        return bundle

    @property
    def cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device.startswith("cuda")

    def now(self) -> float:
        """Seconds, once the device has done all that it was given."""
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def memory(self) -> str:
        """The peak since the model was made."""
        return f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if self.cuda else ""


def ordinary(bundle: Bundle) -> Bundle:
    """The same model without graphs."""
    return replace(bundle, slots=None)


def spread(seconds: list[float]) -> str:
    """Median and range in milliseconds."""
    return f"{1000 * statistics.median(seconds):.1f} ms ({1000 * min(seconds):.1f} .. {1000 * max(seconds):.1f})"


def latents(bundle: Bundle, count: int, **options: Any) -> Iterator[Tensor]:
    """Raw patches of a request that ends at so many."""
    request = Request(text=TEXT, max_patches=count, stop_threshold=1.0, **{"seed": 7, **options})
    for step in steps(bundle, request):
        yield step.latent_KD


def times(case: Case, made: Iterator[Any]) -> list[float]:
    """How long each item took."""
    found, begun = [], case.now()
    for _ in made:
        found.append(case.now() - begun)
        begun = case.now()
    return found


def difference(one: Tensor, other: Tensor) -> str:
    """Largest difference, over the largest value."""
    one, other = one.float().cpu(), other.float().cpu()
    return f"{float((one - other).abs().max() / other.abs().max()):.1e}"
