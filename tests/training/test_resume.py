"""Interrupted and resumed is uninterrupted, bit for bit; a torn checkpoint is passed over."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.runtime.bundle import load_bundle
from training import checkpoint
from training.checkpoint import CheckpointWriter

Ranks = Callable[..., list[Any]]


def losses(folder: Path) -> list[Any]:
    lines = [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
    return [(line["step"], line.get("losses"), line.get("grad_norms"), line.get("validation")) for line in lines]


def test_resumed_run_equals_uninterrupted_run(corpus: Path, ranks: Ranks, runs: Any, tmp_path: Path) -> None:
    for name in runs.manifests:
        shutil.copytree(runs.at("cut", name), tmp_path / name)
        newest = max((tmp_path / name / "checkpoints").iterdir())
        assert newest.name == "step-00000006"
        if name != "plain":  # all others have a torn newest checkpoint, and continue from the one before
            torn = max(newest.rglob("*.pt"))
            torn.write_bytes(torn.read_bytes()[:-1])
    rest = ranks("train", world=2, corpus=corpus, folder=tmp_path, manifests=runs.manifests)
    assert rest == runs.whole
    for name in runs.manifests:
        if name != "zero3":  # its weights lie in pieces
            assert rest[0][name] == rest[1][name]
        assert losses(tmp_path / name) == losses(runs.at("whole", name))
        assert [line[0] for line in losses(tmp_path / name) if line[1]] == list(range(1, 11))
        one, other = (
            load_bundle(path / "out" / "bundle").training for path in (tmp_path / name, runs.at("whole", name))
        )
        assert one.keys() == other.keys()
        for key, tensor in one.get("toy", {}).items():
            assert tensor.numel() > 0
            assert torch.equal(tensor, other["toy"][key]), key


def test_another_number_of_workers_is_refused(corpus: Path, ranks: Ranks, runs: Any, tmp_path: Path) -> None:
    shutil.copytree(runs.at("cut", "plain"), tmp_path / "plain")
    asked = {"plain": runs.manifests["plain"]}
    (told,) = ranks("train", world=1, corpus=corpus, folder=tmp_path, manifests=asked)
    assert "step 6 was written by 2 workers, and there are now 1: set workers: 2" in told["plain"]


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
