"""A player moved by DeepSpeed ZeRO 0 to 3.

DeepSpeed is told three things that its defaults get wrong for us: the optimizer is torch's AdamW, so that no kernel is
compiled at run time; no op of its own is to be had, since they are compiled too (the shared-memory op serves only
inference); and its files go through our own checkpoint layer, since it writes in place.
"""

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.checkpoint import Checkpoint, CheckpointWriter
from training.data.draw import Draw
from training.engine import adamw, norm_of, trainable
from training.manifest import Engine as EngineManifest
from training.manifest import Optimizer
from training.objectives import Player, Term
from training.transfer import Whole, fill, fill_partition, fill_pieces, shapes_of, whole_of
from training.world import World


class DeepSpeedEngine:
    """ZeRO 0 to 3 through `deepspeed.initialize`."""

    def __init__(self, player: Player, *, manifest: EngineManifest, optimizer: Optimizer, world: World) -> None:
        deepspeed = import_deepspeed(world)
        self.player, self.world = player, world
        summed = manifest.zero_stage < 3
        self.scale = manifest.accumulation * (1 if summed else world.size)
        config = {
            "train_micro_batch_size_per_gpu": 1,  # what a micro-batch holds is our affair: losses come summed
            "gradient_accumulation_steps": manifest.accumulation,
            "gradient_allreduce_op": "sum" if summed else "mean",  # ZeRO-3 knows the mean alone
            "gradient_clipping": optimizer.clip or 0.0,
            "zero_optimization": {
                "stage": manifest.zero_stage,
                **offloaded(manifest, world=world),
                **buckets(manifest, world=world),
            },
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,  # its own AdamW for offloading would be compiled at run time
            "steps_per_print": 1 << 40,
        }
        client = adamw(player, optimizer=optimizer)
        self.engine, _, _, _ = deepspeed.initialize(
            model=player, optimizer=client, config=config, dist_init_required=False
        )

    def __call__(self, prepared: Any, draw: Draw) -> dict[str, Term]:
        terms: dict[str, Term] = self.engine(prepared, draw)
        return terms

    def backward(self, loss: Tensor) -> None:
        # It divides by the micro-batches, and ZeRO-3 by the workers too; we want the sum.
        self.engine.backward(loss * self.scale)
        if not self.engine.is_gradient_accumulation_boundary():
            self.engine.step()  # only counts the micro-batch

    def step(self, *, lr: float) -> float:
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        own = float(norm_of(trainable(self.player))) if self.engine.zero_optimization_stage() == 0 else None
        self.engine.step()
        return float(self.engine.get_global_grad_norm()) if own is None else own

    def whole(self) -> AbstractContextManager[None]:
        if self.engine.zero_optimization_stage() < 3:
            return nullcontext()
        from deepspeed.runtime.zero import GatheredParameters

        gathered: AbstractContextManager[None] = GatheredParameters(list(self.player.parameters()))
        return gathered

    def save(self, writer: CheckpointWriter, *, name: str) -> None:
        own = self.engine.checkpoint_engine
        self.engine.checkpoint_engine = through(writer, own=own)
        try:
            self.engine.save_checkpoint(str(writer.root), tag=name, save_latest=False)
        finally:
            self.engine.checkpoint_engine = own

    def load(self, checkpoint: Checkpoint, *, name: str) -> None:
        self.engine.load_checkpoint(str(checkpoint.root), tag=name)

    def adopt(self, checkpoint: Checkpoint, *, name: str) -> None:
        stage, parameters = self.engine.zero_optimization_stage(), trainable(self.player)
        whole = whole_of(checkpoint, name=name, shapes=shapes_of(parameters))
        if stage == 3:
            self.take_weights(whole)
        else:
            self.player.load_state_dict(whole.weights)
        if stage == 0:
            fill(self.engine.optimizer, parameters, whole)
            return
        self.engine.optimizer.refresh_fp32_params()
        if stage == 3:
            fill_pieces(self.engine.optimizer, parameters, whole, rank=self.world.rank)
        else:
            fill_partition(self.engine.optimizer.optimizer, whole, rank=self.world.rank)

    def take_weights(self, whole: Whole) -> None:
        """Give every worker its parts of the weights, one parameter gathered at a time."""
        from deepspeed.runtime.zero import GatheredParameters

        for name, parameter in self.player.named_parameters():
            with GatheredParameters([parameter], modifier_rank=0):
                if self.world.rank == 0:
                    parameter.data.copy_(whole.weights[name])
        for name, buffer in self.player.named_buffers():
            if name in whole.weights:
                buffer.copy_(whole.weights[name])


def offloaded(manifest: EngineManifest, *, world: World) -> dict[str, Any]:
    """Where ZeRO keeps the optimizer: with `offload`, in the memory of the host."""
    if not manifest.offload:
        return {}
    return {"offload_optimizer": {"device": "cpu", "pin_memory": world.device.type == "cuda"}}


def buckets(manifest: EngineManifest, *, world: World) -> dict[str, Any]:
    """How ZeRO 1 and 2 sum gradients over workers. On a CPU in pieces of 4 MB: what is copied into a piece, summed and
    copied back stays in the cache, and the allocator has the memory of the last piece again. DeepSpeed's default, all
    at once through a buffer of 500 M numbers, is right for a GPU, and is all that it can do where it offloads."""
    if world.device.type != "cpu" or manifest.offload or manifest.zero_stage not in (1, 2):
        return {}
    return {"reduce_bucket_size": 1_000_000, "contiguous_gradients": False}


def gather_by_broadcasts(
    groups_flat: Sequence[Tensor],
    partitioned_param_groups: Sequence[Sequence[Tensor]],
    dp_process_group: Sequence[Any],
    start_alignment_factor: int,
    allgather_bucket_size: int,
) -> None:
    """Give every worker the weights of all others, in place of DeepSpeed's `all_gather_dp_groups`: each sends its part
    of every group. Two workers on two loaded cores gathered 51 MB in 17 ms so, and by gloo's all_gather in 150."""
    del groups_flat, start_alignment_factor, allgather_bucket_size
    sent = [
        torch.distributed.broadcast(part, group_src=rank, group=group, async_op=True)
        for parts, group in zip(partitioned_param_groups, dp_process_group, strict=True)
        for rank, part in enumerate(parts)
        if len(parts) > 1
    ]
    for work in sent:
        work.wait()


def through(writer: CheckpointWriter, *, own: Any) -> Any:
    """DeepSpeed's checkpoint engine, with every write going through our layer."""
    from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine

    class Through(TorchCheckpointEngine):  # type: ignore[misc]
        def __init__(self) -> None:
            self.__dict__.update(own.__dict__)

        def save(self, state_dict: Any, path: str) -> None:
            writer.save(str(Path(path).relative_to(writer.root)), state_dict)

    return Through()


def import_deepspeed(world: World) -> Any:
    """DeepSpeed, quiet, with the accelerator that we use and without the ops that it would compile."""
    os.environ.update(launchers_words(world))  # noqa: TID251 - it is told so, or not at all
    import deepspeed

    without_compiling("deepspeed.runtime.zero.muon.muon_optimizer")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    deepspeed.ops.__compatible_ops__ = {}  # or it runs a compiler to find out which ops it could compile
    if world.device.type == "cpu":
        from deepspeed.runtime.zero import stage_1_and_2

        stage_1_and_2.all_gather_dp_groups = gather_by_broadcasts
    if not deepspeed.comm.is_initialized():
        backend = "nccl" if world.device.type == "cuda" else "gloo"
        deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False)
    return deepspeed


def launchers_words(world: World) -> dict[str, str]:
    """What DeepSpeed reads from the environment: the accelerator at its import (else it searches, and warns), and in
    LOCAL_RANK the number of the GPU that it puts a network on, which need not be what a launcher said."""
    return {"DS_ACCELERATOR": world.device.type, "LOCAL_RANK": str(world.device.index or 0)}


def without_compiling(module: str) -> None:
    """Import a module that decorates its functions with torch.compile, without loading the compiler (1 s of a core)."""
    if module in sys.modules:
        return
    compiler = torch.compile
    torch.compile = lambda model=None, **_: model if model is not None else (lambda f: f)  # type: ignore[assignment]
    try:
        importlib.import_module(module)
    finally:
        torch.compile = compiler
