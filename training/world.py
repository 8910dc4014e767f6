"""The workers of a run, seen from one of them: rank, size, and the few collectives that the loop needs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


@dataclass(frozen=True)
class World:
    """One worker among `size`. With size 1 and no process group every collective is the identity."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over workers, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def first(self, value: Any) -> Any:
        """What rank 0 has, on every worker."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """What every worker has, in rank order, on every worker."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Until every worker is here."""
        if self.size > 1:
            dist.barrier()


def world_of_process_group() -> World:
    """The world of the process group that the launcher made; nccl means a GPU a worker."""
    if not dist.is_initialized():
        return World()
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    return World(rank=dist.get_rank(), size=dist.get_world_size(), device=device)
