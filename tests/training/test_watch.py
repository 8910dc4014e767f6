"""A stage that stands still says so, and whether it is for want of machines."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.manifest import parse
from infra.waiting import Silence
from tests.processes import until
from training import watch
from training.manifest import StageManifest

MANIFEST = {
    "stage": "audiovae_stage1",
    "model": "tiny",
    "objective": {"name": "audiovae"},
    "data": {"seconds_per_step": 1.28},
    "optimizer": {"lr": 0.001},
    "steps": 200,
}


def stage(**facts: Any) -> StageManifest:
    return parse(StageManifest, {**MANIFEST, "engine": {"name": "plain"}, "workers": 3, **facts}, where="test")


@pytest.fixture
def two_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one processor each; one more is dead."""
    machine = {"Alive": True, "Resources": {"CPU": 1.9, "memory": 1e9}}
    monkeypatch.setattr("ray.nodes", lambda: [machine, machine, {**machine, "Alive": False}])
    monkeypatch.setattr("ray.is_initialized", lambda: True)


@pytest.mark.usefixtures("two_machines")
def test_stage_without_machines_says_how_many_are_missing() -> None:
    assert watch.lack_of_room(stage()) == "; the cluster has room for 2 of 3 workers: waiting for a machine"
    assert watch.lack_of_room(stage(min_workers=2)) == ""
    assert "room for 0 of 3" in watch.lack_of_room(stage(device="cuda"))
    assert watch.lack_of_room(stage(launcher="in_process", workers=1)) == ""


@pytest.mark.usefixtures("two_machines")
def test_stage_that_stands_still_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It said nothing while Ray Train waited for a machine, or a worker hung, for as long as that took."""
    lines: list[str] = []
    monkeypatch.setattr(watch, "Silence", lambda: Silence(after_seconds=0.01))
    job: Any = SimpleNamespace(work=tmp_path, say=lines.append, name="stage")
    with watch.watching(job, stage()):
        until(lambda: len(lines) > 1, what="two lines")
    assert lines[0].startswith("no step has ended for ")
    assert lines[0].endswith(" s; the cluster has room for 2 of 3 workers: waiting for a machine")
