"""Interrupted and resumed is uninterrupted, bit for bit; a torn checkpoint is passed over."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training import checkpoint
from training.checkpoint import CheckpointWriter

Ranks = Callable[..., list[Any]]

ENGINES = {
    "plain": {"name": "plain"},
    "zero1": {"name": "deepspeed", "zero_stage": 1},
    "zero2": {"name": "deepspeed", "zero_stage": 2, "accumulation": 2},
}


def manifest(objective: dict[str, Any], engine: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage": "toy",
        "model": "tiny",
        "objective": objective,
        "data": {"seconds_per_step": 12, "held_out": 0.1},
        "optimizer": {"lr": 0.01, "clip": 0.5},
        "schedule": {"shape": "exponential", "final_lr": 0.001, "warmup_steps": 3},
        "engine": engine,
        "steps": 10,
        "save_every": 3,
        "validate_every": 5,
        "seed": 2,
    }


def losses(folder: Path) -> list[Any]:
    lines = [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
    return [(line["step"], line.get("losses"), line.get("grad_norms"), line.get("validation")) for line in lines]


@pytest.mark.parametrize("engine", list(ENGINES))
def test_resumed_run_equals_uninterrupted_run(corpus: Path, ranks: Ranks, tmp_path: Path, engine: str) -> None:
    objective = {"name": "toy_gan"} if engine == "zero1" else {"name": "toy", "dropout": 0.2}
    asked = manifest(objective, ENGINES[engine])
    whole = ranks("train", world=2, corpus=corpus, folder=tmp_path / "whole", manifest=asked)
    ranks("train", world=2, expect=7, corpus=corpus, folder=tmp_path / "cut", manifest=asked, until=8)
    newest = max((tmp_path / "cut" / "checkpoints").iterdir())
    assert newest.name == "step-00000006"
    torn = max(newest.rglob("*.pt"))
    torn.write_bytes(torn.read_bytes()[:-1])
    rest = ranks("train", world=2, corpus=corpus, folder=tmp_path / "cut", manifest=asked)
    assert rest == whole
    assert rest[0] == rest[1]
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_another_number_of_workers_is_refused(corpus: Path, ranks: Ranks, tmp_path: Path) -> None:
    asked = manifest({"name": "toy"}, ENGINES["plain"])
    ranks("train", world=2, expect=7, corpus=corpus, folder=tmp_path / "a", manifest=asked, until=4)
    (told,) = ranks("train", world=1, expect=1, corpus=corpus, folder=tmp_path / "a", manifest=asked)
    assert "written by 2 workers, and there are now 1: set workers: 2" in told


def write(folder: Path, step: int, *, world: int = 2, ranks: tuple[int, ...] = (0, 1)) -> None:
    for rank in ranks:
        writer = CheckpointWriter(folder, step=step, rank=rank, world=world)
        writer.save(f"net/{rank}.pt", {"step": step, "rank": rank})
        writer.done()


@pytest.mark.parametrize(
    "wound", ["no done file", "short file", "changed byte", "file gone", "half a done file", "no step"]
)
def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, wound: str) -> None:
    write(tmp_path, 3)
    write(tmp_path, 6)
    root, file = tmp_path / "step-00000006", tmp_path / "step-00000006" / "net" / "1.pt"
    if wound == "no done file":
        (root / "done-1.json").unlink()
    elif wound == "short file":
        file.write_bytes(file.read_bytes()[:-1])
    elif wound == "changed byte":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif wound == "file gone":
        file.unlink()
    elif wound == "half a done file":
        (root / "done-0.json").write_text((root / "done-0.json").read_text()[:20])
    else:
        shutil.rmtree(root)
    told: list[str] = []
    found = checkpoint.newest(tmp_path, say=told.append)
    assert found is not None
    assert found.step == 3
    assert found.load("net/1.pt") == {"step": 3, "rank": 1}
    assert len(told) == (wound != "no step")
    checkpoint.discard_after(tmp_path, step=found.step)
    assert [path.name for path in checkpoint.folders(tmp_path)] == ["step-00000003"]


def test_a_writer_killed_in_the_middle_leaves_the_one_before(tmp_path: Path) -> None:
    write(tmp_path, 3)
    write(tmp_path, 6, ranks=(0,))
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.step == 3


def test_only_the_newest_whole_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        write(tmp_path, step)
    checkpoint.prune(tmp_path, keep=2)
    assert [path.name for path in checkpoint.folders(tmp_path)] == ["step-00000004", "step-00000003"]
