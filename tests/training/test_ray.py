"""Ray Train starts the workers, and starts them again: a kill changes nothing of what comes out."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.steplog import read_log

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def drive(corpus: Path, *folders: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(HERE / "drive.py"), str(corpus), *map(str, folders)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def results(process: "subprocess.Popen[str]") -> tuple[list[dict[str, Any]], str]:
    try:
        told, _ = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 0, told
    return [json.loads(line) for line in told.splitlines() if line.startswith("{")], told


def steps_in(folder: Path) -> int:
    """Steps that the stage in the workflow's store has logged."""
    return sum(len(read_log(path)) for path in folder.glob("store/stage/*/work/losses.jsonl"))


def until(process: "subprocess.Popen[str]", true: Callable[[], bool]) -> None:
    """Wait while the driver runs."""
    end = time.monotonic() + 600
    while not true() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)


@pytest.mark.system
@pytest.mark.timeout(1200)
def test_killed_workers_and_drivers_change_nothing(corpus: Path, tmp_path: Path) -> None:
    (whole, killed), told = results(drive(corpus, tmp_path / "whole", tmp_path / "killed"))
    assert whole["last"]["mel/l1"] < whole["first"]["mel/l1"]
    assert "killed" in told
    assert "continuing after step" in told
    assert killed == whole

    folder = tmp_path / "workflow-2"
    told_to_stop = drive(corpus, folder)
    until(told_to_stop, lambda: steps_in(folder) >= 4)
    told_to_stop.send_signal(signal.SIGTERM)
    told, _ = told_to_stop.communicate(timeout=120)
    assert told_to_stop.returncode == 130, told
    assert "told to stop: stage saves what it has" in told
    done = steps_in(folder)
    assert done < 40
    assert f"stopped after step {done}, which is saved" in told
    (checkpoints,) = folder.glob("store/stage/*/work/checkpoints")
    assert (checkpoints / f"step-{done:08d}" / "done-1.json").exists()

    victim = drive(corpus, folder)
    until(victim, lambda: steps_in(folder) >= done + 4)
    victim.send_signal(signal.SIGKILL)
    told, _ = victim.communicate()
    assert f"continuing after step {done}\n" in told
    assert not list(folder.glob("store/stage/*/out/bundle"))
    (again,), told = results(drive(corpus, folder))
    assert "continuing after step" in told
    assert again == whole


@pytest.mark.system
@pytest.mark.timeout(700)
def test_an_elastic_stage_begins_with_as_many_workers_as_have_room(corpus: Path, tmp_path: Path) -> None:
    (found,), told = results(drive(corpus, tmp_path / "elastic"))
    assert "2 of 3 workers have room" in told
    assert found["last"]["mel/l1"] < found["first"]["mel/l1"]
    (made,) = (tmp_path / "elastic" / "work" / "checkpoints").glob("step-00000006")
    assert sorted(path.name for path in made.glob("done-*.json")) == ["done-0.json", "done-1.json"]
