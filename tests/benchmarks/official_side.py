"""What both sides of the benchmark share: a process that answers tasks, one JSON line each; clocks; a FLOP counter.

It runs inside both virtual environments, and imports neither package.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

TEXT = "The quick brown fox jumps over the lazy dog, and the five boxing wizards jump quickly."
SEED = 7
Task = Callable[..., dict[str, Any]]


def serve(tasks: dict[str, Task]) -> None:
    """Answer lines of {"task": name, "args": {}} until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not come between
    for line in sys.stdin:
        order = json.loads(line)
        found = tasks[order["task"]](**order["args"])
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answers.write(json.dumps(found) + "\n")
        answers.flush()


@dataclass
class Clock:
    """Wall and process time since it was made, in seconds; of all threads."""

    def __post_init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """(wall, cpu)."""
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def timed_each(made: Iterator[Tensor]) -> tuple[list[tuple[float, float]], list[Tensor]]:
    """How long each of `made` took, and all of them."""
    times, values = [], []
    while True:
        clock = Clock()
        value = next(made, None)
        if value is None:
            return times, values
        times.append(clock.read())
        values.append(value)


def training_batch(*, seconds: float, patch: int, latent: int, hidden: int) -> dict[str, Tensor]:
    """One utterance: hidden states (1, P, H), clean latents and noise (1, P * K, D), time, x-vector."""
    draw = torch.Generator().manual_seed(SEED)
    patches = round(seconds * 25 / patch)
    return {
        "hidden": torch.randn(1, patches, hidden, generator=draw),
        "clean": torch.randn(1, patches * patch, latent, generator=draw),
        "noise": torch.randn(1, patches * patch, latent, generator=draw),
        "time": torch.rand(1, generator=draw),
        "xvector": torch.randn(1, 512, generator=draw),
    }


def training_waves(seconds: list[float], *, patch_samples: int) -> list[Tensor]:
    """Mono waveforms of whole patches, (S,), as loud as speech."""
    draw = torch.Generator().manual_seed(SEED)
    return [0.1 * torch.randn(round(one * 48_000 / patch_samples) * patch_samples, generator=draw) for one in seconds]


def vae_latents(*, patches: int, patch: int, latent: int) -> Tensor:
    """Latents to decode, (1, patches * patch, D)."""
    return torch.randn(1, patches * patch, latent, generator=torch.Generator().manual_seed(SEED))


def matrix_rate(*, size: int = 1024, repeats: int = 20) -> float:
    """The best rate of square float32 products, by oneDNN and by BLAS, in operations a second."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    ways = [lambda: torch.mm(a, b), lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")]
    best = float("inf")
    for way in ways:
        way()
        for _ in range(repeats):
            clock = Clock()
            way()
            best = min(best, clock.read()[0])
    return 2 * size**3 / best


def read_rate(*, mib: int = 512, repeats: int = 5) -> float:
    """Bytes a second that memory gives to the cores: a sum over more than any cache holds."""
    x = torch.ones(mib * 2**18)
    best = float("inf")
    for _ in range(repeats):
        clock = Clock()
        x.sum()
        best = min(best, clock.read()[0])
    return x.numel() * 4 / best


def rows_times_weight(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Operations of a linear layer: shapes (..., I), (O, I)."""
    return int(2 * prod(x) * weight[0])


def attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Operations of scaled dot products: shapes (B, A, L, E), (B, A, S, E)."""
    return int(2 * prod(query) * key[2] + 2 * prod(query[:3]) * value[2] * value[3])


@contextmanager
def counted(found: dict[str, Any]) -> Iterator[None]:
    """Count floating point operations into found["flops"]."""
    extra = {
        torch.ops.mkldnn._linear_pointwise: rows_times_weight,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention,
    }
    with FlopCounterMode(display=False, custom_mapping=extra) as counter:
        yield
    found["flops"] = counter.get_total_flops()
