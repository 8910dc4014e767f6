"""Ray Train starts the workers, and starts them again: a kill changes nothing of what comes out."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.processes import PATIENCE_SECONDS, until
from training.ray_train import lean_trainer
from training.steplog import read_log

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


Drive = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def drive(corpus: Path, popen: Callable[..., "subprocess.Popen[str]"]) -> Drive:
    """Start `drive.py` for some folders."""
    words = [sys.executable, str(HERE / "drive.py"), str(corpus)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return lambda *folders: popen([*words, *map(str, folders)], cwd=ROOT, env=environment, **pipes)


def results(process: "subprocess.Popen[str]") -> tuple[list[dict[str, Any]], str]:
    told, _ = process.communicate()  # within the time of the test
    assert process.returncode == 0, told
    return [json.loads(line) for line in told.splitlines() if line.startswith("{")], told


def steps_in(folder: Path) -> int:
    """Steps that the stage in the workflow's store has logged."""
    return sum(len(read_log(path)) for path in folder.glob("store/stage/*/work/losses.jsonl"))


def test_ctrl_c_stays_with_who_runs_the_stage_and_lets_it_save(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train would put a handler of its own in place, which ends the stage without a checkpoint."""
    import ray
    from ray.train.torch import TorchTrainer

    monkeypatch.setattr(ray, "nodes", lambda: [{}])
    before = signal.getsignal(signal.SIGINT)
    try:
        TorchTrainer._register_sigint_handler(None, None)
        assert signal.getsignal(signal.SIGINT) is not before  # or else there is nothing left to keep away
        signal.signal(signal.SIGINT, before)
        lean_trainer()._register_sigint_handler(None, None)
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.system
@pytest.mark.timeout(2400)
def test_killed_workers_and_drivers_change_nothing(drive: Drive, tmp_path: Path) -> None:
    (whole, killed), told = results(drive(tmp_path / "whole", tmp_path / "killed"))
    assert whole["last"]["mel/l1"] < whole["first"]["mel/l1"]
    assert "killed" in told
    assert "continuing after step" in told
    assert killed == whole

    folder = tmp_path / "workflow-2"
    told_to_stop = drive(folder)
    until(lambda: steps_in(folder) >= 4, what="four steps", process=told_to_stop)
    told_to_stop.send_signal(signal.SIGTERM)
    told, _ = told_to_stop.communicate(timeout=PATIENCE_SECONDS)
    assert told_to_stop.returncode == 130, told
    assert "told to stop: stage ends its step and saves it" in told
    done = steps_in(folder)
    assert done < 40
    assert f"stopped after step {done}, which is saved" in told
    (checkpoints,) = folder.glob("store/stage/*/work/checkpoints")
    assert (checkpoints / f"step-{done:08d}" / "done-1.json").exists()

    victim = drive(folder)
    until(lambda: steps_in(folder) >= done + 4, what="four more steps", process=victim)
    victim.send_signal(signal.SIGKILL)
    told, _ = victim.communicate(timeout=PATIENCE_SECONDS)
    assert f"continuing after step {done}\n" in told
    assert not list(folder.glob("store/stage/*/out/bundle"))
    (again,), told = results(drive(folder))
    assert "continuing after step" in told
    assert again == whole


@pytest.mark.system
@pytest.mark.timeout(1200)
def test_an_elastic_stage_begins_with_as_many_workers_as_have_room(drive: Drive, tmp_path: Path) -> None:
    (found,), told = results(drive(tmp_path / "elastic"))
    assert "2 of 3 workers have room" in told
    assert found["last"]["mel/l1"] < found["first"]["mel/l1"]
    (made,) = (tmp_path / "elastic" / "work" / "checkpoints").glob("step-00000006")
    assert sorted(path.name for path in made.glob("done-*.json")) == ["done-0.json", "done-1.json"]
