"""What a tracker that is slow, or lost for good, costs the work: nothing; and nothing is lost or doubled by it.

Absent from the start, and lost and back, with a server that is killed and started: test_lineage.py.
"""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.journal import JournalRun, read_from
from infra.lineage import SETTINGS, Shipper
from infra.refusals import Unreachable
from infra.shipping import Shipping
from tests.infra.tracker import (
    Way,
    assert_not_slowed,
    client,
    free_port,
    journal_of,
    leave,
    points,
    serve,
    shipped_bytes,
)
from tests.processes import PATIENCE_SECONDS, starting, until

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("quiet")]


@dataclass(frozen=True)
class Tracker:
    """A real server, its database, and the way to it that the shipper takes."""

    way: Way
    database: str

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.way.port}"


@pytest.fixture(scope="module")
def server(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """Port and database of an MLflow server that lives as long as these tests."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    shutil.copy(empty_mlflow, folder / "server.db")
    with starting() as popen:
        serve(port, f"sqlite:///{folder}/server.db", folder, popen=popen)
        yield port, f"sqlite:///{folder}/server.db"


@pytest.fixture
def tracker(server: tuple[int, str]) -> Iterator[Tracker]:
    way = Way(server[0])
    way.start()
    yield Tracker(way, server[1])
    way.stop()


class Training(threading.Thread):
    """Steps that tell the run of themselves; how long each of these calls took."""

    def __init__(self, run: JournalRun) -> None:
        super().__init__(daemon=True)
        self.run_, self.ended = run, threading.Event()
        self.written: list[tuple[int, float]] = []
        self.took: list[float] = []

    def run(self) -> None:
        while not self.ended.wait(0.01):
            step = len(self.written) + 1
            began = time.perf_counter()
            self.run_.metrics({"loss": float(step), "speed/waited": 0.5}, step=step)
            self.took.append(time.perf_counter() - began)
            self.written.append((step, float(step)))

    def stop(self) -> None:
        """After this step."""
        self.ended.set()
        self.join()


def runs_of(uri: str, run: str) -> list[Any]:
    """MLflow's runs with the tag of ours."""
    api = client(uri)
    return list(api.search_runs([e.experiment_id for e in api.search_experiments()], f"tags.`stipple.run` = '{run}'"))


def test_a_tracker_that_takes_a_second_for_each_answer_gets_everything_once(tmp_path: Path, tracker: Tracker) -> None:
    """A second stands for a minute: both are below the time that the shipper waits for an answer."""
    assert float(SETTINGS["MLFLOW_HTTP_REQUEST_TIMEOUT"]) > 60 + 20
    assert SETTINGS["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    tracker.way.delay = 1.0
    run = journal_of(tmp_path, run="5" * 32)
    training = Training(run)
    shipping = Shipping(tmp_path, tracker.uri, wait_seconds=PATIENCE_SECONDS)
    shipping.start()
    training.start()
    try:
        shipped_bytes(run.journal, tracker.uri, above=0)
        training.stop()
        run.end("FINISHED")
        shipping.finish()
    finally:
        training.ended.set()
        leave(shipping)
        run.close()
    assert_not_slowed(training.took)
    assert points(tracker.database, run.id, "loss") == training.written
    assert [one.info.status for one in runs_of(tracker.database, run.id)] == ["FINISHED"]


def test_a_tracker_lost_for_good_stops_nothing_and_gets_the_rest_when_it_is_asked_later(
    tmp_path: Path, tracker: Tracker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = journal_of(tmp_path, run="6" * 32)
    training = Training(run)
    shipping = Shipping(tmp_path, tracker.uri, wait_seconds=PATIENCE_SECONDS)
    shipping.start()
    training.start()
    try:
        shipped_bytes(run.journal, tracker.uri, above=0)
        tracker.way.stop()
        before = len(training.written)
        while len(training.written) < before + 100:
            time.sleep(0.05)
        training.stop()
        run.end("FINISHED")
        shipping.finish()
        assert shipping.process is not None
        assert shipping.process.poll() == 1, "it gave up after a while, and said so"
    finally:
        training.ended.set()
        leave(shipping)
        run.close()
    hint = f"nothing is lost: `stipple lineage ship --store {tmp_path} --tracking {tracker.uri}`"
    assert hint in capsys.readouterr().err
    assert_not_slowed(training.took)
    told = [record for record in read_from(run.writer.path, 0)[0] if record["t"] == "metrics"]
    assert [record["step"] for record in told] == [step for step, _ in training.written]
    assert len(points(tracker.database, run.id, "loss")) < len(training.written)
    tracker.way.start()
    words = ["lineage", "ship", "--store", str(tmp_path), "--tracking", tracker.uri]
    subprocess.run([sys.executable, "-P", "-m", "infra.cli", *words], check=True, capture_output=True)
    assert points(tracker.database, run.id, "loss") == training.written
    assert [one.info.status for one in runs_of(tracker.database, run.id)] == ["FINISHED"]


def test_answers_that_come_too_late_double_nothing(
    tmp_path: Path, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slower than the shipper waits: what it asked for is done all the same, after it has given up."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    run = journal_of(tmp_path, run="7" * 32)
    for step in range(1, 6):
        run.metrics({"loss": float(step)}, step=step)
    sender = Shipper(tmp_path, tracker.uri)
    asked = sender.client.create_run
    late: list[str] = []

    def create_run(*words: Any, **named: Any) -> Any:
        made = asked(*words, **named)
        if not late:
            late.append(made.info.run_id)
            raise ConnectionError("no answer in time")
        return made

    monkeypatch.setattr(sender.client, "create_run", create_run)
    searched = sender.runs_of
    monkeypatch.setattr(sender, "runs_of", lambda known: [] if len(late) == 1 else searched(known))
    with pytest.raises(Unreachable):
        sender.ship_all()
    sender.ship_all()  # asks for a second run, since the first was not there yet
    late.append("it is there now")
    tracker.way.delay = 17.0
    run.metrics({"loss": 6.0}, step=6)
    run.output_model(name="train", uri="/out", digest="e" * 64, step=6)
    with pytest.raises(Unreachable):
        sender.ship_all()
    tracker.way.delay = 0.0

    def arrived() -> bool:
        return any(one.data.metrics.get("loss") == 6.0 for one in runs_of(tracker.database, run.id))

    until(arrived, what="what no answer was waited for")
    run.end("FINISHED")
    run.close()
    sender.ship_all()
    assert points(tracker.database, run.id, "loss") == [(step, float(step)) for step in range(1, 7)]
    (one,) = runs_of(tracker.database, run.id)
    assert one.info.status == "FINISHED"
