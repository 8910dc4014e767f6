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


@pytest.mark.system
def test_other_numbers_of_workers_and_other_engines_go_on_with_the_same_samples(
    corpus: Path, ranks: Ranks, tmp_path: Path
) -> None:
    base = {
        "stage": "toy",
        "model": "tiny",
        "objective": {"name": "toy"},
        "data": {"seconds_per_step": 12, "held_out": 0.1},
        "optimizer": {"lr": 0.01, "clip": 0.5},
        "schedule": {"shape": "cosine", "warmup_steps": 2},
        "engine": {"name": "plain"},
        "steps": 10,
        "save_every": 1,
        "validate_every": 5,
    }
    zero = [{**base, "engine": {"name": "deepspeed", "zero_stage": number}} for number in range(4)]
    manifests = {
        "plain": base,
        "zero0": zero[0],
        "zero2": zero[2],
        "zero3": zero[3],
        "cut up": base,
        "joined": zero[3],
        "gan": {**zero[1], "objective": {"name": "toy_gan"}},
    }
    tasks = {"corpus": corpus, "folder": tmp_path / "moved"}
    ranks("train", world=2, manifests=manifests, until=3, **tasks)
    alone = {f"alone-{name}": {**manifests[name], "engine": {"name": "plain"}} for name in ("plain", "gan")}
    ranks("train", world=1, manifests={**manifests, **alone}, until=6, **tasks)
    ranks("train", world=1, manifests=alone, **tasks)
    manifests |= {"zero0": zero[2], "cut up": zero[3], "joined": base}  # another engine, too
    ranks("train", world=4, manifests=manifests, **tasks)
    for name in manifests:
        found = losses(tmp_path / "moved" / name)
        expected = losses(tmp_path / "moved" / ("alone-gan" if name == "gan" else "alone-plain"))
        assert [line[0] for line in found] == [line[0] for line in expected]
        for one, other in zip(found, expected, strict=True):
            for kind in (kind for kind in (1, 2, 3) if other[kind] is not None):
                assert one[kind] == pytest.approx(other[kind], rel=1e-5), f"{name}, step {one[0]}"


def write(folder: Path, step: int, *, world: int = 2, ranks: tuple[int, ...] = (0, 1)) -> None:
    for rank in ranks:
        writer = CheckpointWriter(folder, step=step, rank=rank, world=world)
        writer.save(f"net/{rank}.pt", {"step": step, "rank": rank})
        writer.write()


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


def test_a_copy_that_a_person_made_of_a_checkpoint_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, 3)
    write(tmp_path, 6)
    shutil.copytree(tmp_path / "step-00000006", tmp_path / "step-00000006.bak")
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.root.name == "step-00000006"
    checkpoint.discard_after(tmp_path, step=3)
    checkpoint.prune(tmp_path, keep=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000006.bak"]


def test_a_writer_killed_in_the_middle_leaves_the_one_before(tmp_path: Path) -> None:
    write(tmp_path, 3)
    write(tmp_path, 6, ranks=(0,))
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.step == 3


def test_only_the_newest_whole_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        write(tmp_path, step)
    write(tmp_path, 5, ranks=(0,))  # another rank still writes: it stays, and does not count
    checkpoint.prune(tmp_path, keep=2)
    assert [int(path.name.removeprefix("step-")) for path in checkpoint.folders(tmp_path)] == [5, 4, 3]


def test_a_checkpoint_holds_what_was_when_it_was_saved(tmp_path: Path) -> None:
    weight = torch.ones(3)
    writer = CheckpointWriter(tmp_path, step=1, rank=0, world=1)
    writer.save("net.pt", {"a": weight, "tied": [weight], "part": torch.arange(100.0)[:2]})
    weight += 1
    writer.write()
    found = checkpoint.newest(tmp_path)
    assert found is not None
    state = found.load("net.pt")
    assert state["a"].tolist() == [1, 1, 1]
    assert state["a"].data_ptr() == state["tied"][0].data_ptr()
    assert (found.root / "net.pt").stat().st_size < 4000


def test_what_fails_behind_is_raised_at_the_next_call() -> None:
    background = checkpoint.Background()
    background.start(lambda: Path("/nowhere/at/all").write_text(""))  # type: ignore[arg-type, return-value]
    with pytest.raises(FileNotFoundError):
        background.finish()
    background.finish()
