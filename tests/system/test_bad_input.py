"""Bad input, given to the real commands: a sentence and a non-zero exit, never a traceback."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = "manifests/workflows/quickstart.yaml"

pytestmark = pytest.mark.system


def stipple(*words: str, limit: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as a process; whatever it says, it says no traceback."""
    command = [sys.executable, "-P", "-m", "infra.cli", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, preexec_fn=limit)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def run_recordings(folder: Path, store: Path, **more: Callable[[], None]) -> subprocess.CompletedProcess[str]:
    """The first node of the quickstart, on a folder."""
    words = ["run", QUICKSTART, "--until", "recordings", "--set", f"store={store}"]
    return stipple(*words, "--set", f"recordings.folder={folder}", **more)


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run_recordings(tmp_path / "empty", tmp_path / "store")
    assert done.returncode == 1
    assert "failed: " in done.stderr
    assert "empty" in done.stderr


def test_a_folder_without_sound(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no sound here")
    done = run_recordings(tmp_path / "texts", tmp_path / "store")
    assert done.returncode == 1
    assert "failed: " in done.stderr
    assert str(tmp_path / "texts") in done.stderr


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = run_recordings(tmp_path / "none", tmp_path / "store")
    assert done.returncode == 1
    assert str(tmp_path / "none") in done.stderr


def test_a_manifest_with_two_mistakes(tmp_path: Path) -> None:
    manifest = tmp_path / "broken.yaml"
    manifest.write_text("name: broken\ntransfroms: [probe]\nkeep:\n  - {name: duration, minn: 1}\n")
    done = stipple("corpus", "build", str(manifest), "--recordings", str(tmp_path))
    assert done.returncode == 2
    assert "transfroms: no such key; did you mean 'transforms'?" in done.stderr
    assert "minn" in done.stderr
    assert "did you mean 'min" in done.stderr


def test_a_missing_bundle(tmp_path: Path) -> None:
    done = stipple("say", "Hello.", "--from", str(tmp_path / "none"), "--out", str(tmp_path / "x.wav"))
    assert done.returncode in (1, 2)
    assert str(tmp_path / "none") in done.stderr
    assert not (tmp_path / "x.wav").exists()


def small_files() -> None:
    """Every write beyond 20 kB fails, as on a disk that fills up."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_files_that_cannot_grow_stop_it_in_a_state_that_resumes(tmp_path: Path) -> None:
    words = ["run", QUICKSTART, "--until", "recordings", "--set", f"store={tmp_path / 'store'}"]
    words += ["--set", "recordings.synthetic.voices=1", "--set", "recordings.synthetic.sentences_per_voice=1"]
    words += ["--set", "recordings.synthetic.faults=false"]
    done = stipple(*words, limit=small_files)
    assert done.returncode == 1
    assert "failed: " in done.stderr
    done = stipple(*words)
    assert done.returncode == 0, done.stderr
    assert "resume: attempt 1 failed" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_refused_before_the_work(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        done = run_recordings(tmp_path, disk / "store")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    assert done.returncode == 1
    assert "MB free, but recordings needs" in done.stderr
