"""One rank of a distributed test: `ranks.py RANK TASK WORLD STORE ANSWER ARGUMENTS`; writes its answer as JSON."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

import training.objectives
from infra.manifest import parse
from training.checkpoint import CheckpointError
from training.errand import ERRAND, Errand
from training.loop import Worker
from training.manifest import StageManifest
from training.world import World, world_of_process_group

HERE = Path(__file__).parent
training.objectives.__path__.append(str(HERE / "toys"))


def digest_of(module: torch.nn.Module) -> str:
    """sha256 over all weights."""
    state = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        state.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return state.hexdigest()


def worker_of(world: World, *, corpus: str, folder: str, manifest: dict[str, Any], token: str = "a") -> Worker:
    """A worker of a stage with the given manifest, in `folder`."""
    work = Path(folder)
    work.mkdir(parents=True, exist_ok=True)
    if world.rank == 0:
        (work / "attempt").write_text(token)
    world.wait()
    errand = Errand(
        manifest=parse(StageManifest, manifest, where="test"),
        folders={"data": corpus},
        start_from=None,
        work=str(work),
        out=str(work / "out"),
        token=token,
    )
    if world.rank == 0:
        (work / ERRAND).write_text(json.dumps(errand.to_dict()))
    return Worker(errand, world, lambda line: print(line, file=sys.stderr))


def steps(world: World, *, corpus: str, folder: str, manifests: dict[str, dict[str, Any]]) -> Any:
    """Losses, norms and final weights of each manifest after all its steps, in one process group."""
    found = {}
    for name, manifest in manifests.items():
        worker = worker_of(world, corpus=corpus, folder=f"{folder}/{name}", manifest=manifest)
        reports = [worker.step(step, micros) for step, micros, _, _ in worker.batches(0)]
        found[name] = {
            "losses": [dict(report.losses) for report in reports],
            "norms": [dict(report.grad_norms) for report in reports],
            "weights": {
                f"{player}.{key}": value.tolist()
                for player, engine in worker.engines.items()
                for key, value in engine.player.state_dict().items()
            },
        }
    return found


def replay(world: World, *, folder: str, first: int, last: int) -> Any:
    """A slice of a stage again: what differs, and what was said."""
    from training.replay import replayed

    said: list[str] = []
    return {"difference": replayed(world, Path(folder), first=first, last=last, say=said.append), "said": said}


class Interrupted(Exception):  # noqa: N818
    """Raised in place of a step: the worker goes no further, and saves nothing."""


def train(
    world: World, *, corpus: str, folder: str, manifests: dict[str, dict[str, Any]], until: int | None = None
) -> Any:
    """Train each manifest to the end, or only until so many updates are done; what came of it.

    A manifest that cannot go on gives its sentence.
    """
    found: dict[str, Any] = {}
    for name, manifest in manifests.items():
        worker = worker_of(world, corpus=corpus, folder=f"{folder}/{name}", manifest=manifest)
        try:
            if until is not None:
                stop_at(worker, until)
            worker.train()
        except Interrupted:
            pass
        except CheckpointError as error:
            found[name] = str(error)
            continue
        found[name] = {player: digest_of(engine.player) for player, engine in worker.engines.items()}
    return found


def stop_at(worker: Worker, until: int) -> None:
    """Let the worker go no further than `until` updates."""
    inner = worker.step

    def step(number: int, micros: Any) -> Any:
        if number == until:
            raise Interrupted
        return inner(number, micros)

    worker.step = step  # type: ignore[method-assign]


if __name__ == "__main__":
    rank, task, size, store, answer, arguments = sys.argv[1:]
    if int(size) > 1 or "deepspeed" in arguments:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=int(size))
    value = globals()[task](world_of_process_group(), **json.loads(arguments))
    Path(f"{answer}.{rank}").write_text(json.dumps(value))
    if dist.is_initialized():
        dist.destroy_process_group()
