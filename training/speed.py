"""How fast a stage goes: audio-hours an hour, MFU, and the parts of a step that are spent waiting."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from infra.storage import read_json, write_json
from training.data.collate import seconds_of_patches
from training.world import World

FLOPS = "flops.json"
"""In the stage's work: operations of its heaviest micro-batch, forward and backward of every player."""
SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices whose product tells what the machine can do."""
BESIDE = ("validating", "sampling", "saving")
"""What takes time between two steps."""


FUSED = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
"""The kernels behind scaled_dot_product_attention. Those of a GPU take fewer heads of keys than of queries as they are,
which the formulas that come with torch refuse."""


def counter() -> Any:
    """Counts the floating-point operations of matrix products, convolutions and attention while it is entered.

    An operation that cannot be counted ends nothing: its name is in `missed` of what is returned.
    """
    from torch.utils.flop_counter import FlopCounterMode

    own: dict[Any, Any] = {}
    if torch._C._has_mkldnn:
        own[torch.ops.mkldnn._linear_pointwise] = linear_flops
    for name in FUSED:
        own[getattr(torch.ops.aten, name)] = attention_flops
        own[getattr(torch.ops.aten, f"{name}_backward")] = attention_backward_flops
    counting, missed = FlopCounterMode(display=False, custom_mapping=own), set[str]()
    for operation, formula in counting.flop_registry.items():
        counting.flop_registry[operation] = partial(flops_or_none, formula, missed, str(operation))
    counting.missed = missed  # type: ignore[attr-defined]
    return counting


def flops_or_none(formula: Callable[..., int], missed: set[str], name: str, *words: Any, **named: Any) -> int:
    """What the formula gives; 0 where it does not know such shapes, and then the name is kept."""
    try:
        return formula(*words, **named)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        missed.add(name)
        return 0


def linear_flops(x: Sequence[int], weight: Sequence[int], *_words: Any, **_named: Any) -> int:
    """Of a product with a weight (out, in), by shapes."""
    return 2 * math.prod(x) * weight[0]


def attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_words: Any, **_named: Any) -> int:
    """Of two products over all pairs of positions, by shapes (B, A, L, width), for every head of the query; a causal
    mask saves nothing here."""
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


def attention_backward_flops(
    _grad: Sequence[int], query: Sequence[int], key: Sequence[int], value: Sequence[int], *_words: Any, **_named: Any
) -> int:
    """Of five such products: the scores again, and the four gradients."""
    return 2 * math.prod(query[:3]) * key[2] * (3 * query[3] + 2 * value[3])


def keep_flops(work: Path, total: int, *, patches: int) -> None:
    """Remember the operations of a micro-batch of so many patches, padding included."""
    write_json(work / FLOPS, {"flops": total, "patches": patches})


def matrix_rate(device: torch.device, dtype: torch.dtype, *, repeats: int = 5) -> float:
    """Operations a second of a product of large square matrices, the best of a few: what MFU is a part of. On a CPU by
    processor time, so that other work on the machine does not make it less."""
    side = SIDE[device.type]
    one = torch.randn(side, side, device=device, dtype=dtype)
    best = 0.0
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        clock, share = (time.perf_counter, 1) if device.type == "cuda" else (time.process_time, torch.get_num_threads())
        began = clock()
        one @ one
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * side**3 * share / max(clock() - began, 1e-9))
    return best


@dataclass
class Speed:
    """Sums over steps since they were last told."""

    flops_per_patch: float | None = None
    """Of one worker; None where nothing was counted."""
    rate: float = 1.0
    """Operations a second that one worker could do."""
    workers: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    sums: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, work: Path, *, world: World, dtype: str) -> "Speed":
        """With what was counted of the stage, on this worker's machine."""
        found = read_json(work / FLOPS)
        if found is None:
            return cls(workers=world.size, device=world.device)
        rate = matrix_rate(world.device, getattr(torch, dtype))
        return cls(found["flops"] / found["patches"], rate, world.size, world.device)

    def add(self, **parts: float) -> None:
        """Seconds, and seconds of audio, of one step."""
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def told(self) -> dict[str, float]:
        """The curves since the last call."""
        sums, self.sums = self.sums, {}
        audio = sums["audio_seconds"]
        spent = max(sums["seconds"] + sums.get("saving", 0.0), 1e-9)
        whole = spent + sums.get("validating", 0.0) + sums.get("sampling", 0.0)
        values = {"speed/audio_hours_per_hour": audio / whole, "speed/waited": sums["waited"] / whole}
        values |= {f"speed/{name}": sums.get(name, 0.0) / whole for name in BESIDE}
        if self.flops_per_patch is not None:
            done = audio / seconds_of_patches(1) / self.workers * self.flops_per_patch
            values["speed/mfu"] = done / spent / self.rate
        if self.device.type == "cuda":
            values["speed/gpu_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        return values
