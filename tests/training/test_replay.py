"""A slice of a stage, run again, is what it was; and where it is not, the first difference has a name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.manifest import parse
from infra.workflow.node import Refused
from training import checkpoint as checkpoints
from training.checkpoint import CheckpointWriter
from training.errand import ERRAND, Errand
from training.loop import Worker
from training.manifest import StageManifest
from training.replay import replay
from training.world import World

Ranks = Callable[..., list[Any]]


@pytest.fixture
def stage(corpus: Path, tmp_path: Path, toys: None) -> Path:
    """A finished stage of ten steps, with checkpoints of steps 8 and 10."""
    asked = {
        "stage": "toy",
        "model": "tiny",
        "objective": {"name": "toy"},
        "data": {"seconds_per_step": 12, "held_out": 0},
        "optimizer": {"lr": 0.01},
        "engine": {"name": "plain"},
        "steps": 10,
        "save_every": 5,
    }
    work = tmp_path / "stage" / "work"
    work.mkdir(parents=True)
    (work / "attempt").write_text("a")
    manifest = parse(StageManifest, asked, where="test")
    errand = Errand(manifest, {"data": str(corpus)}, None, str(work), str(tmp_path / "stage" / "out"), token="a")
    (work / ERRAND).write_text(json.dumps(errand.to_dict()))
    Worker(errand, World(), print).train()
    return tmp_path / "stage"


def test_a_slice_run_again_is_equal_from_a_checkpoint_or_the_start(stage: Path) -> None:
    said: list[str] = []
    before = sorted((path, path.read_bytes()) for path in stage.rglob("*") if path.is_file())
    assert replay(stage, first=9, last=10, say=said.append) is None
    assert replay(stage, first=2, last=8, say=said.append) is None
    assert "replayed from the checkpoint of step 8: held against 8 losses, norms and rates and 22 tensors" in said[1]
    assert "replayed from the start: held against 32 losses, norms and rates and 22 tensors" in said[2]
    assert sorted((path, path.read_bytes()) for path in stage.rglob("*") if path.is_file()) == before


def test_what_differs_first_is_named(stage: Path) -> None:
    log = stage / "work" / "losses.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (tenth,) = (line for line in lines if line["step"] == 10 and "losses" in line)
    was = tenth["losses"]["toy/length"]
    tenth["losses"]["toy/length"] = was * (1 + 1e-12)
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = replay(stage, first=9, last=10, say=print)
    assert found is not None
    assert found.startswith("step 10, losses toy/length: was ")
    assert repr(was) in found


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("player", "step 10, net, weight guess.3.weight: differs by up to 0.001"),
        ("exp_avg", "step 10, net, exp_avg of guess.3.weight: differs by up to 0.001"),
        ("exp_avg_sq", "step 10, net, exp_avg_sq of guess.3.weight: differs by up to 0.001"),
        ("step", "step 10, net, updates that AdamW has counted: differs by up to 1"),
    ],
)
def test_a_tensor_that_differs_from_a_checkpoint_is_named(stage: Path, kind: str, told: str) -> None:
    newest = checkpoints.newest(stage / "work" / "checkpoints")
    assert newest is not None
    state = newest.load("net/plain.pt")
    if kind == "player":
        state["player"]["guess.3.weight"][0, 0] += 1e-3
    elif kind == "step":
        for entry in state["optimizer"]["state"].values():
            entry["step"] += 1
    else:
        names = ["unused", "guess.0.weight", "guess.0.bias", "guess.3.weight"]
        state["optimizer"]["state"][names.index("guess.3.weight")][kind][0, 0] += 1e-3
    writer = CheckpointWriter(stage / "work" / "checkpoints", newest.step, 0, 1, engine="plain")
    writer.save("net/plain.pt", state)
    writer.write()
    found = replay(stage, first=9, last=10, say=print)
    assert found is not None
    assert found.startswith(told)


def test_steps_that_were_not_made_are_refused(stage: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"--steps 9\.\.11: the stage has steps 1\.\.10"):
        replay(stage, first=9, last=11, say=print)
    with pytest.raises(Refused, match="no training was begun"):
        replay(tmp_path, first=1, last=2, say=print)


def test_two_workers_replay_what_two_workers_did(ranks: Ranks, runs: Any, tmp_path: Path) -> None:
    names = ("zero1", "zero3")
    for name in names:
        shutil.copytree(runs.at("whole", name), tmp_path / name)
    one, other = ranks("replay", world=2, folders=[tmp_path / name for name in names], first=7, last=10)
    for found in (*one, *other):
        assert found["difference"] is None
    for found, tensors in zip(one, (2 * (3 * 9 + 2), 2 * (3 * 7 + 1)), strict=True):
        assert f"and {tensors} tensors of checkpoints" in found["said"][-1]


class Late(Worker):
    """A worker of a replay that begins while the stage goes on, and removes the checkpoints of `gone`."""

    gone: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        for folder in Path(str(self.errand.folders["stage"])).glob("work/checkpoints/step-*"):
            if int(folder.name[-8:]) in self.gone:
                shutil.rmtree(folder)


def begun_late(stage: Path, monkeypatch: pytest.MonkeyPatch, *, gone: tuple[int, ...]) -> None:
    told = json.loads((stage / "work" / ERRAND).read_text())
    told["folders"]["stage"] = str(stage)
    (stage / "work" / ERRAND).write_text(json.dumps(told))
    monkeypatch.setattr("training.replay.Worker", type("Gone", (Late,), {"gone": gone}))


def test_a_checkpoint_that_the_stage_removes_meanwhile_is_a_sentence(
    stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_late(stage, monkeypatch, gone=(8,))
    with pytest.raises(Refused, match="the checkpoint of step 8 was removed meanwhile: the stage is at work and keeps"):
        replay(stage, first=9, last=10, say=print)


def test_a_checkpoint_that_is_removed_before_it_was_looked_at_is_left_out(
    stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_late(stage, monkeypatch, gone=(8, 10))
    said: list[str] = []
    assert replay(stage, first=7, last=10, say=said.append) is None
    assert said[-1].endswith("0 tensors of checkpoints (of steps 8 and 10 none: removed meanwhile)")
