"""Run a slice of a stage again, from a checkpoint that it left, and hold every number against what was written."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import ProcessRaisedException, spawn

from infra.storage import write_atomic
from infra.workflow.fingerprint import code_of, edited
from infra.workflow.node import Refused
from infra.workflow.store import Slot
from training import checkpoint as checkpoints
from training.checkpoint import Checkpoint, CheckpointWriter
from training.engine import trainable
from training.errand import ERRAND, Errand
from training.loop import Worker
from training.steplog import LOSSES, read_log
from training.transfer import Whole, shapes_of, whole_of
from training.world import World, world_of_process_group

REFUSED = "refused"
"""A worker's reason to end, for the person."""


def replay(stage: Path, *, first: int, last: int, say: Callable[[str], None]) -> str | None:
    """Replay updates `first` to `last` (counted from 1) of the stage in a folder of the store, with as many workers and
    the engine that it had, here. None where all is equal, bit for bit, or else the first number or tensor that differs.

    Raises: Refused where the stage did not get so far, or is at work and removes the checkpoint that it begins from.
    """
    work = stage / "work" if (stage / "work").is_dir() else stage
    if not (work / ERRAND).is_file():
        raise Refused(f"{stage}: no training was begun there: give the folder of a stage in the store")
    done = max((line["step"] for line in read_log(work / LOSSES) if "losses" in line), default=0)
    if not 1 <= first <= last <= done:
        raise Refused(f"--steps {first}..{last}: the stage has steps 1..{done}")
    manifest = Errand.of(work).manifest
    if manifest.workers == 1 and manifest.engine.name == "plain" and manifest.device == "cpu":
        return replayed(World(), work, first=first, last=last, say=say)
    with tempfile.TemporaryDirectory(prefix="replay-") as place:
        words = (manifest.workers, manifest.device, place, str(work), first, last)
        try:
            spawn(one_rank, words, nprocs=manifest.workers)  # type: ignore[no-untyped-call]
        except ProcessRaisedException:
            if not (Path(place) / REFUSED).exists():
                raise
            raise Refused((Path(place) / REFUSED).read_text()) from None
        found = json.loads((Path(place) / "found.json").read_text())
    for line in found["said"]:
        say(line)
    return None if found["difference"] is None else str(found["difference"])


def changed_since(stage: Path) -> list[str]:
    """Files of code that are not what they were when the stage ran, as its state says: they may explain it."""
    from training.launch import CODE

    return edited(Slot(stage).state().get("parts", {}), code_of(CODE))


def one_rank(rank: int, size: int, device: str, place: str, work: str, first: int, last: int) -> None:
    """A worker of the replay, in a process of its own."""
    if device == "cuda":
        torch.cuda.set_device(rank)
    backend = "nccl" if device == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, init_method=f"file://{place}/store", rank=rank, world_size=size)
    said: list[str] = []
    try:
        found = replayed(world_of_process_group(), Path(work), first=first, last=last, say=said.append)
    except Refused as error:
        write_atomic(Path(place) / REFUSED, str(error))
        raise
    if rank == 0:
        (Path(place) / "found.json").write_text(json.dumps({"difference": found, "said": said}))
    torch.distributed.destroy_process_group()


def replayed(world: World, work: Path, *, first: int, last: int, say: Callable[[str], None]) -> str | None:
    """What `replay` does, in one of the workers. Nothing is written into the stage.

    Raises: Refused where the checkpoint that it begins from is removed before it is loaded.
    """
    whole = world.first(whole_in(work / "checkpoints") if world.rank == 0 else {})
    start = max((step for step in whole if step < first), default=0)
    written = {line["step"]: line for line in read_log(work / LOSSES) if "losses" in line}
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        (Path(scratch) / "checkpoints").mkdir()  # as a stage that goes on: nothing is tried first
        errand = Errand.of(work)
        worker = Worker(replace(errand, work=scratch, out=scratch, journal=None), world, say)
        if start:
            try:
                worker.take(whole[start])
            except FileNotFoundError:
                raise Refused(
                    f"{work}: the checkpoint of step {start} was removed meanwhile: the stage is at work and keeps the "
                    f"newest {errand.manifest.keep_checkpoints}; ask for later steps, or wait for its end"
                ) from None
        shared = world.first(scratch)
        checked = tensors = 0
        gone: list[int] = []
        for step, micros, _, _ in worker.batches(start):
            report = worker.step(step, micros)
            own, count = first_difference(report, written[step + 1])
            difference: str | None = world.first(own)
            checked += count
            if difference is None and step + 1 in whole:
                try:
                    own, count = against(worker, whole[step + 1], scratch=Path(shared) / "state")
                except FileNotFoundError:
                    own, count = None, 0
                    gone.append(step + 1)
                difference = world.first(own)
                tensors += count
            if difference is not None or step + 1 == last:
                break
        world.wait()
    of = f"{checked} losses, norms and rates and {tensors} tensors of checkpoints"
    of += f" (of steps {' and '.join(map(str, gone))} none: removed meanwhile)" if gone else ""
    say(f"replayed from {f'the checkpoint of step {start}' if start else 'the start'}: held against {of}")
    return difference


def whole_in(folder: Path) -> dict[int, Checkpoint]:
    """Step -> its checkpoint, of those that are whole now. A stage at work removes old ones as it goes."""
    found = (checkpoints.opened(root) for root in checkpoints.folders(folder))
    return {one.step: one for one in found if isinstance(one, Checkpoint)}


def first_difference(report: Any, line: Mapping[str, Any]) -> tuple[str | None, int]:
    """The first number of a step that is not what was written; how many were looked at."""
    count = 0
    for kind in ("losses", "grad_norms", "lr"):
        for name, value in getattr(report, kind).items():
            count += 1
            if line[kind].get(name) != value:
                return f"step {report.step}, {kind} {name}: was {line[kind].get(name)!r}, is now {value!r}", count
    return None, count


def against(worker: Worker, checkpoint: Checkpoint, *, scratch: Path) -> tuple[str | None, int]:
    """The first weight or moment of AdamW that is not what a checkpoint holds; how many tensors were looked at.

    What the workers have is written to `scratch` first, so that both sides are read in one way, ZeRO's pieces joined.
    All workers call it; rank 0 looks.
    """
    world = worker.world
    if world.rank == 0:
        shutil.rmtree(scratch, ignore_errors=True)
    world.wait()
    writer = CheckpointWriter(scratch, checkpoint.step, world.rank, world.size, engine=checkpoint.engine)
    for player, engine in worker.engines.items():
        engine.save(writer, name=player)
    writer.write()
    world.wait()
    again = checkpoints.newest(scratch) if world.rank == 0 else None
    if again is None:
        return None, 0
    count = 0
    for player, engine in worker.engines.items():
        names = [name for name, parameter in engine.player.named_parameters() if parameter.requires_grad]
        shapes = shapes_of(trainable(engine.player))
        was, now = (tensors_in(whole_of(one, name=player, shapes=shapes), names, shapes) for one in (checkpoint, again))
        for name, before in was.items():
            count += 1
            if not torch.equal(before, now[name]):
                apart = (before.double() - now[name].double()).abs().max()
                return f"step {checkpoint.step}, {player}, {name}: differs by up to {float(apart):.3g}", count
    return None, count


def tensors_in(whole: Whole, names: Sequence[str], shapes: Sequence[torch.Size]) -> dict[str, torch.Tensor]:
    """All tensors of a player's state, named for a person."""
    found = {f"weight {key}": value.detach().cpu() for key, value in whole.weights.items()}
    sizes = [shape.numel() for shape in shapes]
    for moment, flat in whole.moments.items():
        found |= {f"{moment} of {key}": part for key, part in zip(names, torch.split(flat, sizes), strict=True)}
    return found | {"updates that AdamW has counted": whole.updates.detach().cpu()}
