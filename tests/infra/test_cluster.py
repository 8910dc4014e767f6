"""Where Ray may run, and what it is told; starting it is for the system tests."""

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from pydantic import ValidationError

from infra.cluster import (
    INSIDE_A_JOB,
    SHIPPED,
    TOKEN,
    Cluster,
    ClusterManifest,
    begin,
    kept_from_children,
    options,
    package,
    sessions_folder,
    sweep,
)
from infra.storage import ROOT
from infra.workflow.node import Refused


def test_a_local_cluster_is_quiet_and_small(tmp_path: Path) -> None:
    told = options(ClusterManifest(temp_dir=tmp_path, cpus=2), scratch=tmp_path)
    assert told["include_dashboard"] is False
    assert told["num_cpus"] == 2
    assert told["object_store_memory"] == 200 * 2**20
    assert "runtime_env" not in told


def test_a_folder_without_room_for_ray_is_named_before_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.cluster.SESSION_MB", 10**9)
    with pytest.raises(Refused, match=f"{tmp_path}: .* MB free, but Ray needs .* or by TMPDIR"):
        options(ClusterManifest(temp_dir=tmp_path), scratch=tmp_path)


def test_a_joined_cluster_gets_the_code_unless_it_already_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(INSIDE_A_JOB, raising=False)
    told = options(ClusterManifest(address="head:6379"), scratch=tmp_path)
    with zipfile.ZipFile(told["runtime_env"]["working_dir"]) as packed:
        shipped = packed.namelist()
    assert {"infra/cluster.py", "pipelines/build.py", "training/loop.py", "models/runtime/generate.py"} <= set(shipped)
    assert {name.partition("/")[0] for name in shipped} == {*SHIPPED, "shipped"}
    assert not any("__pycache__" in name for name in shipped)
    assert not {"num_cpus", "_temp_dir"} & set(told)
    monkeypatch.setenv(INSIDE_A_JOB, "{}")
    assert "runtime_env" not in options(ClusterManifest(address="auto"), scratch=tmp_path)


def test_no_two_packages_share_a_name_under_which_half_of_one_could_lie(tmp_path: Path) -> None:
    first = package(tmp_path).read_bytes()
    assert package(tmp_path).read_bytes() != first


def test_sessions_of_dead_processes_are_swept(tmp_path: Path) -> None:
    dead, alive = tmp_path / "session_2026-01-01_999999999", tmp_path / f"session_2026-01-01_{os.getpid()}"
    dead.mkdir()
    alive.mkdir()
    sweep(tmp_path)
    assert not dead.exists()
    assert alive.exists()


def test_sockets_have_short_names_wherever_temporary_files_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"stipple-ray-{os.getuid()}"
    monkeypatch.setattr("tempfile.tempdir", "/scratch/job.12345")
    assert sessions_folder() == Path("/scratch/job.12345") / name
    monkeypatch.setattr("tempfile.tempdir", "/scratch/a-user-with-a-long-name/job.12345")
    assert sessions_folder() == Path("/tmp") / name


def test_a_cluster_of_no_cpus_is_refused() -> None:
    with pytest.raises(ValidationError):
        ClusterManifest(cpus=0)


def test_a_cluster_is_joined_from_within() -> None:
    """Ray Data and Ray Train end in a traceback under Ray Client."""
    with pytest.raises(ValidationError, match="ray job submit"):
        ClusterManifest(address="ray://head:10001")


def test_a_cluster_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def nobody(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", nobody)
    with pytest.raises(
        Refused, match=r"no Ray cluster can be joined at address: auto \(ConnectionError: Could not find"
    ):
        begin(ClusterManifest(address="auto"))
    with pytest.raises(ConnectionError):
        begin(ClusterManifest())


def test_a_token_that_the_cluster_does_not_know_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its actors die before they begin; a build called that a unit that kills workers."""
    import ray

    def init(**_: object) -> None:
        os.environ[TOKEN] = "token"  # what Ray does where ~/.ray/auth_token is, and nobody has set it

    def dead(_: object) -> None:
        raise ray.exceptions.ActorDiedError

    left: list[bool] = []
    monkeypatch.setenv(TOKEN, "")
    monkeypatch.delenv(TOKEN)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "remote", lambda **_: lambda _: SimpleNamespace(remote=lambda: MagicMock()))
    monkeypatch.setattr(ray, "get", dead)
    monkeypatch.setattr(ray, "shutdown", lambda: left.append(True))
    with pytest.raises(Refused, match="RAY_AUTH_MODE=disabled"):
        begin(ClusterManifest(address="auto"))
    assert left


def test_children_started_meanwhile_outlive_a_closed_terminal() -> None:
    told = "import signal; print(signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    with kept_from_children(signal.SIGHUP):
        inside = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout
    assert inside == "True\n"
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


IN_A_THREAD = """
import os, threading, time, ray
from infra.cluster import Cluster, ClusterManifest
with Cluster(ClusterManifest(cpus=1, object_store_mb=100)) as cluster:
    first = threading.Thread(target=cluster.connect)
    first.start()
    first.join()
    while first.native_id in map(int, os.listdir("/proc/self/task")):
        time.sleep(0.01)  # join returns a little before the kernel has ended the thread
    print(ray.get(ray.remote(lambda x: x + 1).remote(1)))
"""


@pytest.mark.system
def test_ray_outlives_the_thread_that_needed_it_first() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_THREAD], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


@pytest.mark.system
def test_ray_starts_once_computes_and_leaves_nothing(tmp_path: Path) -> None:
    import ray

    with Cluster(ClusterManifest(cpus=1, object_store_mb=100)) as cluster:
        cluster.connect()
        cluster.connect()
        assert ray.get(ray.remote(lambda x: x + 1).remote(1)) == 2
        session = cluster.session
        assert session is not None
        assert session.is_dir()
    assert not ray.is_initialized()
    assert not session.exists()
