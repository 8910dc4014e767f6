"""Run a slice of a stage again, from a checkpoint that it left, and hold every number against what was written."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import spawn

from infra.workflow.node import Refused
from training import checkpoint as checkpoints
from training.checkpoint import Checkpoint
from training.engine import trainable
from training.errand import ERRAND, Errand
from training.loop import Worker
from training.steplog import LOSSES, read_log
from training.transfer import whole_of
from training.world import World, world_of_process_group


def replay(stage: Path, *, first: int, last: int, say: Callable[[str], None]) -> str | None:
    """Replay updates `first` to `last` (counted from 1) of the stage in a folder of the store, with as many workers and
    the engine that it had, here. None where all is equal, bit for bit, or else the first number or tensor that differs.

    Raises: Refused where the stage did not get so far.
    """
    work = stage / "work" if (stage / "work").is_dir() else stage
    if not (work / ERRAND).is_file():
        raise Refused(f"{stage}: no training was begun there: give the folder of a stage in the store")
    done = max((line["step"] for line in read_log(work / LOSSES) if "losses" in line), default=0)
    if not 1 <= first <= last <= done:
        raise Refused(f"--steps {first}..{last}: the stage has steps 1..{done}")
    manifest = Errand.from_dict(json.loads((work / ERRAND).read_text())).manifest
    if manifest.workers == 1 and manifest.engine.name == "plain" and manifest.device == "cpu":
        return replayed(World(), work, first=first, last=last, say=say)
    with tempfile.TemporaryDirectory(prefix="replay-") as place:
        words = (manifest.workers, manifest.device, place, str(work), first, last)
        spawn(one_rank, words, nprocs=manifest.workers)  # type: ignore[no-untyped-call]
        found = json.loads((Path(place) / "found.json").read_text())
    for line in found["said"]:
        say(line)
    return None if found["difference"] is None else str(found["difference"])


def one_rank(rank: int, size: int, device: str, place: str, work: str, first: int, last: int) -> None:
    """A worker of the replay, in a process of its own."""
    if device == "cuda":
        torch.cuda.set_device(rank)
    backend = "nccl" if device == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, init_method=f"file://{place}/store", rank=rank, world_size=size)
    said: list[str] = []
    found = replayed(world_of_process_group(), Path(work), first=first, last=last, say=said.append)
    if rank == 0:
        (Path(place) / "found.json").write_text(json.dumps({"difference": found, "said": said}))
    torch.distributed.destroy_process_group()


def replayed(world: World, work: Path, *, first: int, last: int, say: Callable[[str], None]) -> str | None:
    """What `replay` does, in one of the workers. Nothing is written into the stage."""
    whole = {
        found.step: found
        for root in checkpoints.folders(work / "checkpoints")
        if isinstance(found := checkpoints.opened(root), Checkpoint)
    }
    start = max((step for step in whole if step < first), default=0)
    written = {line["step"]: line for line in read_log(work / LOSSES) if "losses" in line}
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        (Path(scratch) / "checkpoints").mkdir()  # as a stage that goes on: nothing is tried first
        errand = Errand.from_dict(json.loads((work / ERRAND).read_text()))
        worker = Worker(replace(errand, work=scratch, out=scratch, journal=None), world, say)
        if start:
            worker.take(whole[start])
        checked = tensors = 0
        for step, micros, _, _ in worker.batches(start):
            report = worker.step(step, micros)
            difference, count = first_difference(report, written[step + 1])
            checked += count
            if difference is None and step + 1 in whole:
                difference, count = against(worker, whole[step + 1])
                tensors += count
            difference = world.first(difference)
            if difference is not None or step + 1 == last:
                break
    of = f"{checked} losses, norms and rates and {tensors} tensors of checkpoints"
    say(f"replayed from {f'the checkpoint of step {start}' if start else 'the start'}: held against {of}")
    return difference


def first_difference(report: Any, line: Mapping[str, Any]) -> tuple[str | None, int]:
    """The first number of a step that is not what was written; how many were looked at."""
    count = 0
    for kind in ("losses", "grad_norms", "lr"):
        for name, value in getattr(report, kind).items():
            count += 1
            if line[kind].get(name) != value:
                return f"step {report.step}, {kind} {name}: was {line[kind].get(name)!r}, is now {value!r}", count
    return None, count


def against(worker: Worker, checkpoint: Checkpoint) -> tuple[str | None, int]:
    """The first weight that is not what a checkpoint holds; how many were looked at.

    The moments of AdamW are not compared, nor the pieces of ZeRO-3: the losses that follow from them are.
    """
    if checkpoint.engine == "ZeRO-3":
        return None, 0
    count = 0
    for player, engine in worker.engines.items():
        whole = whole_of(checkpoint, name=player, parameters=trainable(engine.player))
        for name, value in engine.player.state_dict().items():
            count += 1
            was, now = whole.weights[name].cpu(), value.detach().cpu()
            if not torch.equal(was, now):
                apart = (was.double() - now.double()).abs().max()
                return f"step {checkpoint.step}, weight {player}.{name}: differs by up to {float(apart):.3g}", count
    return None, count
