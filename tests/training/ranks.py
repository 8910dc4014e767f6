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
from pipelines.shards import CorpusError
from training.checkpoint import CheckpointError
from training.ends import work
from training.errand import ERRAND, Errand
from training.loop import Worker
from training.manifest import StageManifest
from training.transfer import shapes_of
from training.world import World, world_of_process_group

HERE = Path(__file__).parent
training.objectives.__path__.append(str(HERE / "toys"))


def digest_of(module: torch.nn.Module) -> str:
    """sha256 over all weights."""
    state = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        state.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return state.hexdigest()


def worker_of(
    world: World,
    *,
    corpus: str,
    folder: str,
    manifest: dict[str, Any],
    token: str = "a",
    start_from: str | None = None,
) -> Worker:
    """A worker of a stage with the given manifest, in `folder`."""
    work = Path(folder)
    work.mkdir(parents=True, exist_ok=True)
    if world.rank == 0:
        (work / "attempt").write_text(token)
    world.wait()
    errand = Errand(
        manifest=parse(StageManifest, manifest, where="test"),
        folders={"data": corpus},
        start_from=start_from,
        work=str(work),
        out=str(work / "out"),
        token=token,
    )
    if world.rank == 0:
        (work / ERRAND).write_text(json.dumps(errand.to_dict()))
    return Worker(errand, world, lambda line: print(line, file=sys.stderr))


def steps(
    world: World, *, corpus: str, folder: str, manifests: dict[str, dict[str, Any]], start_from: str | None = None
) -> Any:
    """Losses and norms of each manifest after all its steps, in one process group; its state after the first and the
    last of them is left as checkpoints. A manifest without a model starts from the bundle in `start_from`."""
    found = {}
    for name, manifest in manifests.items():
        start = None if "model" in manifest else start_from
        worker = worker_of(world, corpus=corpus, folder=f"{folder}/{name}", manifest=manifest, start_from=start)
        reports = []
        for step, micros, _, _ in worker.batches(0):
            reports.append(worker.step(step, micros))
            if step in (0, worker.manifest.steps - 1):
                worker.save(step + 1)
                worker.background.finish()
        shapes = {
            player: {key: size for (key, _), size in zip(named(engine.player), sizes(engine.player), strict=True)}
            for player, engine in worker.engines.items()
        }
        found[name] = {
            "losses": [dict(report.losses) for report in reports],
            "norms": [dict(report.grad_norms) for report in reports],
            "shapes": shapes,
            "samples": sum(len(share.picks) for share in worker.plan.share(0, rank=0, world=1, accumulation=1)),
        }
    return found


def named(player: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(key, parameter) for key, parameter in player.named_parameters() if parameter.requires_grad]


def sizes(player: torch.nn.Module) -> list[list[int]]:
    """Shapes of what is trained, where ZeRO-3 holds only pieces of it, too."""
    return [list(shape) for shape in shapes_of([parameter for _, parameter in named(player)])]


def replay(world: World, *, folders: list[str], first: int, last: int) -> Any:
    """A slice of each stage again: what differs, and what was said."""
    from training.replay import replayed

    found = []
    for folder in folders:
        said: list[str] = []
        difference = replayed(world, Path(folder), first=first, last=last, say=said.append)
        found.append({"difference": difference, "said": said})
    return found


def stop_alone(world: World, *, corpus: str, folder: str, manifest: dict[str, Any], where: int) -> Any:
    """Work on a stage of which only rank `where` cannot read a sample; how this rank ended."""

    def batch(self: Worker, share: Any, **named: Any) -> Any:
        if named["step"] == 2 and world.rank == where:
            raise CorpusError("shard 7 is torn")
        return read(self, share, **named)

    read, Worker.batch = Worker.batch, batch  # type: ignore[method-assign]
    errand = worker_of(world, corpus=corpus, folder=folder, manifest=manifest).errand
    try:
        work(errand, world, print)
    except RuntimeError as error:
        return type(error).__name__
    return "returned"


class Interrupted(Exception):  # noqa: N818
    """Raised in place of a step: the worker goes no further, and saves nothing."""


def train(
    world: World,
    *,
    corpus: str,
    folder: str,
    manifests: dict[str, dict[str, Any]],
    until: int | None = None,
    start_from: str | None = None,
) -> Any:
    """Train each manifest to the end, or only until so many updates are done; what came of it.

    A manifest that cannot go on gives its sentence.
    """
    found: dict[str, Any] = {}
    for name, manifest in manifests.items():
        start = None if "model" in manifest else start_from
        worker = worker_of(world, corpus=corpus, folder=f"{folder}/{name}", manifest=manifest, start_from=start)
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
