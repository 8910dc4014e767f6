"""Stages that are killed (SIGKILL) at seeded points and started again: `kills.py CORPUS FOLDER FIRST LAST WORLD`.

Prints, for the uninterrupted run and for every seed, what came of it, as a line of JSON. Workers are forks of this
process, which has imported and made all that they need: a life takes a fraction of a second.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ranks import digest_of, worker_of
from torch import distributed as dist

import training.loop
from training import checkpoint
from training.start import starting_bundle
from training.steplog import read_log
from training.world import World, world_of_process_group

STEPS, EVERY = 12, 4
MANIFEST: dict[str, Any] = {
    "stage": "toy",
    "model": "tiny",
    "objective": {"name": "toy_gan"},
    "data": {"seconds_per_step": 12, "held_out": 0},
    "optimizer": {"lr": 0.01, "clip": 0.5},
    "engine": {"name": "plain"},
    "steps": STEPS,
    "save_every": EVERY,
    "seed": 3,
}
POINTS = ("step", "write", "fsync", "rename", "removal")
"""Where a life ends: after a step, within the bytes of a file, before a sync, at a rename, while old ones go."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def deadly(inner: Callable[..., Any], after: int, *, late: bool = False) -> Callable[..., Any]:
    """`inner`, which kills the process instead of (or, `late`, right after) its call number `after`."""
    calls = [0]

    def call(*words: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == after and not late:
            die()
        found = inner(*words, **named)
        if calls[0] == after:
            die()
        return found

    return call


def arm(worker: Any, dice: random.Random) -> str:
    """Choose how this worker dies."""
    point = dice.choice(POINTS)
    late = dice.random() < 0.5
    if point == "step":
        worker.step = deadly(worker.step, dice.randint(1, STEPS - 1), late=late)
    elif point == "write":
        checkpoint.HashingFile.write = deadly(checkpoint.HashingFile.write, dice.randint(1, 120), late=late)  # type: ignore[method-assign]
    elif point == "fsync":
        os.fsync = deadly(os.fsync, dice.randint(1, 20), late=late)
    elif point == "rename":
        Path.replace = deadly(Path.replace, dice.randint(1, 12), late=late)  # type: ignore[method-assign]
    else:
        checkpoint.shutil.rmtree = deadly(checkpoint.shutil.rmtree, 1, late=late)  # type: ignore[assignment]
    return f"{point}{' after' if late else ''}"


def life(rank: int, *, world: int, corpus: str, folder: Path, number: int, seed: int | None) -> None:
    """One worker from its start to its end; where there is a seed, one of the workers is to be killed."""
    at = World()
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store-{number}", rank=rank, world_size=world)
        at = world_of_process_group()
    worker = worker_of(at, corpus=corpus, folder=str(folder), manifest=MANIFEST, token=str(number))
    resumed = worker.resume
    worker.resume = lambda: [resumed(), note(folder, rank, f"from {worker_step(folder)}")][0]  # type: ignore[method-assign]
    if seed is not None:
        dice = random.Random(f"{seed}:{number}")  # noqa: S311 - a schedule, not a secret
        if dice.randrange(world) == rank:
            note(folder, rank, arm(worker, dice))
    worker.train()
    if rank == 0:
        digests = {name: digest_of(engine.player) for name, engine in worker.engines.items()}
        (folder / "end.json").write_text(json.dumps(digests))


def worker_step(folder: Path) -> int:
    found = checkpoint.newest(folder / "checkpoints")
    return found.step if found else 0


def note(folder: Path, rank: int, line: str) -> None:
    if rank == 0 or not line.startswith("from"):
        with (folder / "notes").open("a") as file:
            file.write(line + "\n")


def lives(folder: Path, *, world: int, corpus: str, seed: int | None, deaths: int) -> dict[str, Any]:
    """Start the stage until it ends by itself; the first `deaths` lives are killed."""
    folder.mkdir(parents=True)
    killed = 0
    lost = 0
    for number in range(deaths + 1):
        pids = []
        for rank in range(world):
            pid = os.fork()
            if pid == 0:
                try:
                    doomed = seed if number < deaths else None
                    life(rank, world=world, corpus=corpus, folder=folder, number=number, seed=doomed)
                except BaseException as error:  # noqa: BLE001 - a fork must never go on as its parent
                    print(f"rank {rank}: {error!r}"[:300], file=sys.stderr, flush=True)
                    os._exit(1)
                os._exit(0)
            pids.append(pid)
        ends = [os.waitpid(pid, 0)[1] for pid in pids]
        done = max((line["step"] for line in read_log(folder / "losses.jsonl")), default=0)
        lost = max(lost, done - worker_step(folder))
        killed += any(os.WIFSIGNALED(end) for end in ends)
        if not any(ends):
            break
    lines = [
        {key: value for key, value in line.items() if key in ("step", "losses", "grad_norms")}
        for line in read_log(folder / "losses.jsonl")
    ]
    end = folder / "end.json"
    return {
        "seed": seed,
        "end": json.loads(end.read_text()) if end.exists() else None,
        "lines": lines,
        "killed": killed,
        "lost": lost,
        "notes": (folder / "notes").read_text().split("\n")[:-1],
    }


def main() -> None:
    corpus, folder, first, last, world = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])
    torch.set_num_threads(1)
    made: dict[str, Any] = {}

    def bundle(manifest: Any, *, start_from: Any) -> Any:
        made.setdefault("bundle", starting_bundle(manifest, start_from=start_from))
        return made["bundle"]

    training.loop.starting_bundle = bundle
    worker_of(World(), corpus=corpus, folder=str(folder / "warm"), manifest=MANIFEST)
    print(json.dumps(lives(folder / "whole", world=world, corpus=corpus, seed=None, deaths=0)), flush=True)
    for seed in range(first, last):
        print(json.dumps(lives(folder / str(seed), world=world, corpus=corpus, seed=seed, deaths=2)), flush=True)


if __name__ == "__main__":
    main()
