"""The heaviest micro-batch of the plan, tried before the first step: what does not fit is known at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from training.data.batching import Plan, Share
from training.data.collate import seconds_of_patches
from training.data.draw import Draw
from training.engine import precision
from training.plan import STATE, WEIGHT, asked, memory
from training.speed import counter, keep_flops
from training.update import frozen

if TYPE_CHECKING:
    from training.loop import Worker

LOTS = 20_000
"""Lots that are looked at. All of a short stage; of a long one a part, spread evenly over it."""


class DoesNotFit(RuntimeError):  # noqa: N818 - reads as what happened
    """The heaviest micro-batch needs more memory than there is."""


def heaviest(plan: Plan, *, steps: int, groups: int) -> Share:
    """The micro-batch with the most audio after padding; of equals, the one with the longest sample."""
    return max(
        (
            share
            for step in looked_at(plan, steps=steps)
            for share in plan.share(step, rank=0, world=1, accumulation=groups)
        ),
        key=lambda share: weight(plan, share),
    )


def weight(plan: Plan, share: Share) -> tuple[int, int]:
    """Patches after padding, and the longest sample."""
    longest = max(map(plan.lengths, share.picks))
    return longest * len(share.picks), longest


def looked_at(plan: Plan, *, steps: int) -> Iterator[int]:
    """Steps of as many whole pools as LOTS allow, evenly spread: steps of one pool cost one sorting."""
    own = plan.steps_in_pool
    pools = -(-steps // own)
    few = max(1, min(pools, LOTS // (own * plan.lots_in_step)))
    every = (pool * own + step for number in range(few) for pool in [number * pools // few] for step in range(own))
    return (step for step in islice(every, max(1, LOTS // plan.lots_in_step)) if step < steps)


def try_heaviest(worker: "Worker") -> None:
    """Forward and backward of every player on the heaviest micro-batch, with as much memory set aside as gradients and
    optimizer will take; no weight or buffer is changed by it.

    Raises: DoesNotFit where a GPU runs out of memory; on a CPU the system ends the process, now and not later.
    """
    manifest, device = worker.manifest, worker.world.device
    groups = worker.world.size * manifest.engine.accumulation
    share = heaviest(worker.plan, steps=manifest.steps, groups=groups)
    padded, longest = weight(worker.plan, share)
    try:
        prepared, draw = worker.prepare(worker.batch(share, step=0), step=0)
        players = worker.objective.players
        trained = sum(p.numel() for player in players.values() for p in player.parameters() if p.requires_grad)
        size = memory(trained, frozen=0, workers=worker.world.size)[asked(manifest)] - trained * WEIGHT
        if manifest.engine.offload:
            size -= trained * STATE / worker.world.size  # it lies in the memory of the host
        aside = torch.empty(int(size), dtype=torch.uint8, device=device)
        total = tried(worker, prepared, draw, counting=not manifest.engine.compile)
        if manifest.engine.compile:  # what is compiled cannot be counted; one sample can, as written
            one = Share([max(share.picks, key=worker.plan.lengths)])
            with torch.compiler.set_stance("force_eager"):
                prepared, draw = worker.prepare(worker.batch(one, step=0), step=0)
                total = tried(worker, prepared, draw, counting=True)
        del aside
        if worker.world.rank == 0 and total is not None:
            keep_flops(worker.work, total, patches=longest if manifest.engine.compile else padded)
    except torch.OutOfMemoryError:
        raise DoesNotFit(
            f"the heaviest micro-batch of the plan, {len(share.picks)} samples of up to "
            f"{seconds_of_patches(longest):.1f} s, padded to {seconds_of_patches(padded):.0f} s, does not fit into the "
            f"memory of {device}: raise workers or engine.accumulation, or lower data.max_clip_seconds or "
            "data.lot_seconds"
        ) from None


def tried(worker: "Worker", prepared: Any, draw: Draw, *, counting: bool) -> int | None:
    """Every player forward and backward; with `counting`, the operations that it took, or None: not all are known."""
    players, total = worker.objective.players, 0
    missed: set[str] = set()
    for name, player in players.items():
        others = [other for key, other in players.items() if key != name]
        counted = counter() if counting else None
        cast = precision(worker.manifest.engine, worker.world.device)
        with untouched(player, others), cast, counted or nullcontext():
            terms = player.train()(prepared, draw)
            torch.autograd.backward(
                torch.stack([terms[key].total.float() for key in worker.objective.weights[name]]).sum()
            )
        if counted:
            total += counted.get_total_flops()
            missed |= counted.missed
    if missed:
        worker.say(f"speed/mfu is not told: the operations of {', '.join(sorted(missed))} are not known")
    return None if missed else total


@contextmanager
def untouched(player: nn.Module, others: Sequence[nn.Module]) -> Iterator[None]:
    """Freeze the others, drop gradients as they come, and put buffers back at the end."""
    buffers = [(buffer, buffer.clone()) for module in (player, *others) for buffer in module.buffers()]
    hooks = [p.register_post_accumulate_grad_hook(dropped) for p in player.parameters() if p.requires_grad]  # type: ignore[no-untyped-call]
    try:
        with frozen(others):
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for buffer, before in buffers:
            buffer.copy_(before)


def dropped(parameter: torch.Tensor) -> None:
    """A gradient that nobody will use."""
    parameter.grad = None
