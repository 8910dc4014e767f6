"""Temporary folders: gone at the end, or when somebody needs the next one; never under somebody's hands."""

import contextlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.locks import owned
from infra.scratch import scratch
from infra.storage import ROOT

HOLD = "from infra.scratch import scratch\nwith scratch('test') as folder:\n    print(folder, flush=True)\n    input()"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def holder() -> tuple["subprocess.Popen[str]", Path]:
    """A process that holds a folder, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_empty_and_gone_at_the_end(place: Path) -> None:
    with scratch("test") as folder:
        assert folder.parent == place
        assert [file.name for file in folder.iterdir()] == [".lock"]
    assert not folder.exists()


def test_what_a_killed_process_left_goes_with_the_next_one_and_nothing_else(place: Path) -> None:
    killed, left = holder()
    alive, held = holder()
    with killed, alive:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        (left / "code.zip").write_bytes(b"packed")
        locked = place / f"stipple-test-{killed.pid}-locked"
        other = place / f"stipple-other-{killed.pid}-xyz"
        elsewhere = place / "elsewhere"
        for folder in (locked, other, elsewhere):
            folder.mkdir()
        link = place / f"stipple-test-{killed.pid}-link"
        link.symlink_to(elsewhere)
        with owned(locked / ".lock"), scratch("test"):
            assert not left.exists()
            assert all(folder.is_dir() for folder in (held, locked, other, elsewhere, link))
        with scratch("test"):
            assert not locked.exists()
        alive.communicate("\n")
    assert alive.returncode == 0
    assert not held.exists()


def test_a_folder_that_another_container_sweeps_before_it_is_locked_is_made_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeper = contextlib.ExitStack()

    def faster(path: Path, **more: Any) -> Any:
        """The other one has the lock, and removes the folder when we wait for it, or later."""
        sweeper.enter_context(owned(path))
        sweeper.callback(shutil.rmtree, path.parent)
        wait = {"waiting": lambda who: sweeper.close()} if "waiting" in more else {}
        return owned(path, **wait)

    monkeypatch.setattr("infra.scratch.owned", faster)
    with scratch("test") as folder:
        sweeper.close()
        (folder / "x.txt").write_text("1")
        with owned(folder / ".lock") as free:
            assert not free
