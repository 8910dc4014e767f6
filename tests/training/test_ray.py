"""Ray Train starts the workers, and starts them again: a kill changes nothing of what comes out."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.system
@pytest.mark.timeout(1200)
def test_killed_workers_and_drivers_change_nothing(corpus: Path, tmp_path: Path) -> None:
    (whole, killed), told = results(drive(corpus, tmp_path / "whole", tmp_path / "killed"))
    assert whole["last"]["mel/l1"] < whole["first"]["mel/l1"]
    assert "killed" in told
    assert "continuing after step" in told
    assert killed == whole

    victim = drive(corpus, tmp_path / "driver")
    checkpoints = tmp_path / "driver" / "work" / "checkpoints"
    until = time.monotonic() + 600
    while len(list(checkpoints.glob("*/done-1.json"))) < 2 and victim.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert not (tmp_path / "driver" / "out" / "bundle").exists()
    (again,), told = results(drive(corpus, tmp_path / "driver"))
    assert "continuing after step" in told
    assert again == whole
