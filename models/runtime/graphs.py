"""One CUDA graph for what would be some thousand launches: steps on buffers that never move, recorded once.

On a GPU a patch of the released model is about 5,000 small kernels, and launching them from Python takes longer than
they do. A step here is a function without arguments that reads and writes static tensors only and never waits for the
device. Anywhere but on a GPU the step itself is run, so all but the recording is tested on a CPU.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from models.fusing import fusing

Step = Callable[[], None]
WARM_UPS = 2
"""Runs before recording: libraries choose their kernels and allocate then."""
RECORDING = threading.Lock()
"""Held while a step is recorded: torch can record one graph of a process at a time."""


@cache
def recording_stream(device: torch.device) -> "torch.cuda.Stream":
    """What all steps of a device are recorded on, since their graphs may share memory. Nothing is run on it: that would
    use the workspaces of the graphs. torch's own stream is of one device, and a graph has nothing of another one."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def captured(step: Step, *, device: torch.device, kept: Sequence[Tensor], pool: Any = None) -> Step:
    """The step as a graph; `kept` are the tensors that recording must leave as they are.

    `pool`: memory that graphs may share which never run at the same time (torch.cuda.graph_pool_handle).
    """
    if device.type != "cuda":
        return step
    with RECORDING, torch.cuda.device(device):
        beside, now = torch.cuda.Stream(device), torch.cuda.current_stream(device)  # type: ignore[no-untyped-call]
        beside.wait_stream(now)
        with torch.cuda.stream(beside):
            before = [tensor.clone() for tensor in kept]
            for _ in range(WARM_UPS):
                step()
                for tensor, value in zip(kept, before, strict=True):
                    tensor.copy_(value)
        now.wait_stream(beside)
        graph, stream = torch.cuda.CUDAGraph(), recording_stream(device)
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            step()
    return graph.replay


@dataclass
class Recorder:
    """Steps of one device, recorded when they are first run."""

    device: torch.device
    pool: Any = None
    backend: str | None = None
    """What compiles the chains of small operations in a step (models.fusing); None: they run as they are written."""
    steps: dict[object, Step] = field(default_factory=dict)

    def run(self, key: object, step: Step, *, kept: Sequence[Tensor]) -> None:
        """Run a step that was recorded under that key, or record it now."""
        found = self.steps.get(key)
        if found is None:
            found = captured(partial(self.fused, step), device=self.device, kept=kept, pool=self.pool)
            self.steps[key] = found
        found()

    def fused(self, step: Step) -> None:
        """The step itself."""
        with fusing(self.backend):
            step()


def fill(static: Tensor, value: Tensor) -> None:
    """Fill a static tensor with numbers of the CPU, without waiting for the device."""
    static.copy_(value.pin_memory() if static.is_cuda else value, non_blocking=True)
