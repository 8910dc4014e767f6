"""A build on several machines: what one of them does not see is no fault of a recording; a missing one is told."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from infra.manifest import parse
from infra.workflow.node import Refused
from pipelines import workers
from pipelines.catalog import write_catalog
from pipelines.ledger import read_ledger
from pipelines.manifest import CorpusManifest, Units
from pipelines.planned import PLAN, Planned, planned
from pipelines.progress import Progress, waiting_told
from pipelines.readers import folder
from pipelines.workers import UnitWorker
from tests.processes import until

DRIVER = Path(__file__).with_name("drive_build.py")
ROOT = DRIVER.parents[2]
MANIFEST = parse(CorpusManifest, {"name": "toy", "transforms": ["probe", "segment", "loudness"]}, where="toy")


@pytest.fixture
def plan(tmp_path: Path) -> Planned:
    """Three recordings, each a unit."""
    root = tmp_path / "recordings"
    root.mkdir()
    for number in range(3):
        wave_S = np.random.default_rng(number).normal(0, 0.1, 16000).astype(np.float32)
        soundfile.write(root / f"{number}.wav", wave_S, 16000)
    (tmp_path / "work").mkdir()
    found = folder.recordings(folder.Config(), root)
    return planned(found, limits=Units(max_recordings=1), path=tmp_path / "work" / PLAN)


def told_elsewhere(plan: Planned, number: int) -> dict[str, Any]:
    """What a worker on another machine says of a unit."""
    worker = UnitWorker(MANIFEST, plan.path.parent)
    worker.host = "n2"
    place = plan.line(number)
    (status,) = worker({"start": [place.start], "bytes": [place.bytes], "earlier": [""]})["status"]
    found: dict[str, Any] = json.loads(status)
    return found


def test_machine_that_does_not_see_the_store_is_named(plan: Planned) -> None:
    place = plan.line(0)
    worker = UnitWorker(MANIFEST, plan.path.parent / "elsewhere")
    worker.host = "n2"
    (status,) = worker({"start": [place.start], "bytes": [place.bytes], "earlier": [""]})["status"]
    told = f"{os.uname().nodename} does not see {worker.work}: the store must be a folder that all machines see"
    assert json.loads(status) == {"stop": told}


def test_unit_whose_recording_is_out_of_sight_is_left_to_others(plan: Planned, tmp_path: Path) -> None:
    (tmp_path / "recordings" / "1.wav").unlink()
    assert told_elsewhere(plan, 1) == {
        "unseen": str(tmp_path / "recordings" / "1.wav"), "host": "n2", "place": list(plan.line(1)),
    }  # fmt: skip
    assert not list((tmp_path / "work").glob("units/*"))
    assert told_elsewhere(plan, 0)["unit"] == plan.name(0)


def statuses(plan: Planned, *, of_pool: Callable[[list[dict[str, Any]], str | None], Sequence[dict[str, Any]]]) -> Any:
    """Statuses of all units where a pool gives those of `of_pool`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "pool_statuses", lambda manifest, rows, *, work, home: of_pool(rows, home))
        patch.setattr("ray.get_runtime_context", lambda: type("Context", (), {"get_node_id": lambda self: "home"})())
        work = plan.path.parent
        return list(workers.ray_statuses(MANIFEST, plan, range(len(plan)), work=work, earlier={}))


def test_recording_that_one_machine_alone_does_not_see_stops_the_build(plan: Planned, tmp_path: Path) -> None:
    """It was a failed recording before, and the corpus was made without those that this machine had taken."""
    path = str(tmp_path / "recordings" / "1.wav")
    unseen = [{"unseen": path, "host": "n2", "place": list(plan.line(1))}]
    with pytest.raises(Refused, match=r"n2 cannot read .*1\.wav, which can be read where the job was started"):
        statuses(plan, of_pool=lambda rows, home: unseen)


def test_recording_that_nobody_sees_is_tried_again_and_is_a_row(plan: Planned, tmp_path: Path) -> None:
    (tmp_path / "recordings" / "1.wav").unlink()
    asked = []

    def of_pool(rows: list[dict[str, Any]], home: str | None) -> Sequence[dict[str, Any]]:
        asked.append((len(rows), home))
        return [{"unit": "1"}] if home is None else [told_elsewhere(plan, number) for number in range(3)]

    found = statuses(plan, of_pool=of_pool)
    assert [status["unit"] for status in found] == [plan.name(0), plan.name(2), "1"]
    assert asked == [(3, "home"), (1, None)]


def test_one_who_waits_for_machines_is_told() -> None:
    lines: list[str] = []
    progress = Progress(lines.append, {"a": 1})
    with waiting_told(progress, room=lambda: 0, after_seconds=0.01):
        until(lambda: len(lines) > 2, what="lines")
    assert lines[0] == "the cluster has room for no worker; waiting for a machine"
    assert lines[1].startswith("no unit has ended for ")
    assert lines[1].endswith("; the cluster has room for no worker: waiting for a machine")


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of a head without processors."""
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="rm", dir="/tmp") as place:
        monkeypatch.setenv("RAY_TMPDIR", place)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        head = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield cluster
        finally:
            cluster.shutdown()


@pytest.mark.system
@pytest.mark.timeout(600)
def test_build_waits_for_a_machine_and_says_so(head: Any, tmp_path: Path, popen: Callable[..., Any]) -> None:
    root, build = tmp_path / "recordings", tmp_path / "1" / "build"
    root.mkdir()
    build.mkdir(parents=True)
    for number in range(3):
        wave_S = np.random.default_rng(number).normal(0, 0.1, 48000).astype(np.float32)
        soundfile.write(root / f"{number}.wav", wave_S, 16000)
        (root / f"{number}.txt").write_text("noise")
    write_catalog(root, folder.recordings(folder.Config(), root))
    with (tmp_path / "told.txt").open("w") as told:
        words = [sys.executable, str(DRIVER), head.address, str(root), str(build)]
        driver = popen(words, stdout=subprocess.DEVNULL, stderr=told, text=True)
        waiting = "the cluster has room for no worker; waiting for a machine"
        until(lambda: waiting in (tmp_path / "told.txt").read_text(), what="a word", process=driver)
        (root / "1.wav").unlink()
        disk = tempfile.mkdtemp(dir=os.environ["RAY_TMPDIR"])
        head.add_node(wait=False, num_cpus=1, object_store_memory=80 * 2**20, temp_dir=disk)
        driver.wait(300)
    ledger = {row["recording"]: row["reason"] or "" for row in read_ledger(build / "out")}
    assert ledger["1.wav"].startswith("unreadable")
    assert not ledger["0.wav"].startswith("unreadable")
