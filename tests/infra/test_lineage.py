"""From journal to MLflow and back: nothing lost, nothing doubled, whatever MLflow does."""

import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra import lineage_cli
from infra.journal import JournalWriter, read_from
from infra.refusals import Unreachable, metric_name, reaching
from infra.shipping import Shipped, Shipping, journals, pending, without_password
from tests.infra.tracker import (
    Popen,
    assert_not_slowed,
    client,
    free_port,
    journal_of,
    leave,
    points,
    serve,
    shipped_bytes,
)
from tests.processes import PATIENCE_SECONDS, limited

Run = Callable[..., tuple[int, str, str]]


def shipper(store: Path, uri: str) -> Any:
    from infra.lineage import Shipper

    return Shipper(store, uri)


def test_no_password_of_a_tracking_server_is_told() -> None:
    told = without_password(
        "MLflow at https://ann:s3cret@host:5000/x cannot be reached: http://ann:s3cret@host/api/a@b"
    )
    assert told == "MLflow at https://***@host:5000/x cannot be reached: http://***@host/api/a@b"
    assert without_password("sqlite:////a/b@c.db") == "sqlite:////a/b@c.db"
    assert without_password("http://ann:s3@cret@host/b and @c") == "http://***@host/b and @c"
    assert (
        without_password("postgresql://host/db?user=a&password=b&c=d") == "postgresql://host/db?user=a&password=***&c=d"
    )
    with pytest.raises(Unreachable) as caught, reaching():
        raise ConnectionError("http://ann:s3cret@host/api does not answer")
    assert str(caught.value) == "cannot be reached: http://***@host/api does not answer"
    refused = ConnectionError("401")
    refused.error_code = "UNAUTHENTICATED"  # type: ignore[attr-defined]
    with pytest.raises(Unreachable, match="wants another login: put MLFLOW_TRACKING_USERNAME"), reaching():
        raise refused
    assert Shipped.read(Path("j"), "http://a:b@host") == Shipped.read(Path("j"), "http://host")


def test_the_page_of_a_server_is_where_the_server_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert lineage_cli.opened("https://ann:s3cret@host:5000", port=5000) == 0
    assert capsys.readouterr().out == "https://host:5000\n"


@pytest.mark.usefixtures("quiet")
def test_a_journal_becomes_a_run_with_its_edges(tmp_path: Path, empty_mlflow: Path) -> None:
    store, uri = tmp_path / "store", f"sqlite:///{tmp_path}/mlflow.db"
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    page = tmp_path / "audit.html"
    page.write_text("<p>listen</p>")
    top = journal_of(store, "above")
    first = journal_of(store, "first", parent=top.id)
    first.params({"steps": 3, "optimizer.lr": 3e-4, "long": "x" * 9000})
    first.input_dataset(name="corpus", digest="d" * 64, uri="/somewhere", role="data", facts={"hours": 1.5})
    first.output_model(name="first", uri="/out", digest="e" * 64, step=3)
    first.artifact(page)
    worker = JournalWriter(first.journal, "worker-0")
    for step in range(5):
        worker.metrics({"flow/loss": 1.0 - step / 10}, step=step)
    worker.close()
    first.end("FINISHED")
    second = journal_of(store, "second", parent=top.id)
    second.input_model(run=first.id, role="start_from")
    second.end("FAILED", reason="a sentence")
    assert shipper(store, uri).ship_all() == 0
    assert pending(store, uri) == []
    api = client(uri)
    ids = {
        name: Shipped.read(journals(store)[run.id], uri).run for name, run in [("f", first), ("s", second), ("t", top)]
    }
    made = api.get_run(ids["f"])
    assert made.info.status == "FINISHED"
    assert made.data.params["optimizer.lr"] == "0.0003"
    assert made.data.tags["mlflow.parentRunId"] == ids["t"]
    assert [(d.dataset.name, d.dataset.digest) for d in made.inputs.dataset_inputs] == [("corpus", "d" * 32)]
    assert [item.path for item in api.list_artifacts(ids["f"])] == ["audit.html"]
    assert points(uri, first.id, "flow/loss") == [(step, 1.0 - step / 10) for step in range(5)]
    model = made.outputs.model_outputs[0].model_id
    user = api.get_run(ids["s"])
    assert user.info.status == "FAILED"
    assert user.data.tags["stipple.ended"] == "a sentence"
    assert [edge.model_id for edge in user.inputs.model_inputs] == [model]
    second.start(attempt=2)
    second.end("FINISHED")
    assert shipper(store, uri).ship_all() == 0
    assert "stipple.ended" not in api.get_run(ids["s"]).data.tags


@pytest.mark.usefixtures("quiet")
def test_replay_after_a_crash_and_redone_steps_double_nothing(tmp_path: Path, empty_mlflow: Path) -> None:
    store, uri = tmp_path / "store", f"sqlite:///{tmp_path}/mlflow.db"
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    run = journal_of(store)
    for step in range(1, 9):
        run.metrics({"loss": float(step)}, step=step)
    shipper(store, uri).ship_all()
    state = Shipped.read(run.journal, uri)
    state.offsets, state.last = {}, {}
    state.save()  # as if the shipper had died between MLflow's answer and its own note
    run.start(attempt=2)
    for step in range(6, 12):
        run.metrics({"loss": float(step)}, step=step)
    run.output_model(name="train", uri="/out", digest="e" * 64, step=11)
    shipper(store, uri).ship_all()
    user = journal_of(store, "user")
    user.input_model(run=run.id, role="start_from")
    user.end("FINISHED")
    shipper(store, uri).ship_all()
    for journal in (run.journal, user.journal):
        Shipped.read(journal, uri).path.unlink()
    assert shipper(store, uri).ship_all() == 0
    assert points(uri, run.id, "loss") == [(step, float(step)) for step in range(1, 12)]
    (model,) = client(uri).search_logged_models([state_experiment(uri)])
    made = client(uri).get_run(Shipped.read(run.journal, uri).run)
    assert [(edge.model_id, edge.step) for edge in made.outputs.model_outputs] == [(model.model_id, 11)]
    used = client(uri).get_run(Shipped.read(user.journal, uri).run)
    assert [edge.model_id for edge in used.inputs.model_inputs] == [model.model_id]


def state_experiment(uri: str) -> str:
    """The id of the tests' experiment."""
    return str(client(uri).get_experiment_by_name("toys").experiment_id)


@pytest.mark.usefixtures("quiet")
def test_no_run_has_more_than_sixty_metric_keys_in_mlflow(tmp_path: Path, empty_mlflow: Path) -> None:
    store, uri = tmp_path / "store", f"sqlite:///{tmp_path}/mlflow.db"
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    run = journal_of(store)
    run.metrics({f"group/{number}": 0.0 for number in range(75)}, step=1)
    shipper(store, uri).ship_all()
    assert len(client(uri).get_run(Shipped.read(run.journal, uri).run).data.metrics) == 60


@pytest.mark.usefixtures("quiet")
def test_what_mlflow_will_not_take_of_one_run_holds_no_other_up(tmp_path: Path, empty_mlflow: Path) -> None:
    store, uri = tmp_path / "store", f"sqlite:///{tmp_path}/mlflow.db"
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    odd = journal_of(store, "odd")
    odd.params({"where.en|zh": "x", "plain": 1})
    odd.metrics({"validation_language/en|zh": 1.0, "../a//b#" + "c" * 300: 2.0, "ok": 3.0}, step=1)
    deleted = journal_of(store, "deleted")
    deleted.metrics({"ok": 1.0}, step=1)
    sender = shipper(store, uri)
    assert sender.ship_all() == 0
    api = client(uri)
    run = {name: Shipped.read(one.journal, uri).run for name, one in (("odd", odd), ("deleted", deleted))}
    assert api.get_run(run["odd"]).data.metrics == {
        "validation_language/en_zh": 1.0, f"a/b_{'c' * 246}": 2.0, "ok": 3.0
    }  # fmt: skip
    assert api.get_run(run["odd"]).data.params == {"where.en_zh": "x", "plain": "1"}
    api.delete_run(run["deleted"])  # as a person does in MLflow's page
    deleted.metrics({"ok": 2.0}, step=2)
    deleted.end("FINISHED")
    later = journal_of(store, "later")
    later.end("FINISHED")
    assert sender.ship_all() == 0
    assert pending(store, uri) == []
    assert api.get_run(Shipped.read(later.journal, uri).run).info.status == "FINISHED"
    assert any("deleted" in said for said in Shipped.read(deleted.journal, uri).refused)

    api.delete_experiment(api.get_run(run["odd"]).info.experiment_id)
    last = journal_of(store, "last")
    last.end("FINISHED")
    other = journal_of(store, "other", experiment="another")
    other.end("FINISHED")
    again = shipper(store, uri)
    assert again.ship_all() == 1
    assert again.rejected.startswith("last: ")
    assert Shipped.read(other.journal, uri).run


@pytest.mark.usefixtures("quiet")
def test_a_locked_database_loses_nothing(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_MAX_RETRIES", "0")
    store, uri = tmp_path / "store", f"sqlite:///{tmp_path}/mlflow.db?timeout=0.2"
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    run = journal_of(store)
    run.metrics({"loss": 1.0}, step=1)
    sender = shipper(store, uri)
    sender.ship_all()
    run.metrics({"loss": 2.0}, step=2)
    holder = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unreachable):
        sender.ship_all()
    holder.execute("ROLLBACK")
    holder.close()
    sender.ship_all()
    assert points(uri, run.id, "loss") == [(1, 1.0), (2, 2.0)]


@pytest.mark.usefixtures("quiet")
def test_a_disk_that_fills_while_mlflow_makes_its_database_leaves_none_that_cannot_be_used(tmp_path: Path) -> None:
    store, uri = tmp_path / "store", f"sqlite:///{tmp_path / 'mlflow.db'}"
    journal_of(store, "a")
    with limited(resource.RLIMIT_FSIZE, 20_000):
        for _ in range(2):
            with pytest.raises(Unreachable, match="disk"):
                shipper(store, uri)
    made = shipper(store, uri)
    assert made.ship_all() == 0
    assert not pending(store, uri)
    assert shipper(store, uri).ship_all() == 0  # and it stays
    assert Shipped.read(journals(store)["a".ljust(32, "0")], uri).run


def test_a_tracker_that_never_answers_slows_no_step_and_the_end_by_little(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Absent throughout (nothing listens), and silent throughout (it accepts, and never answers). Its password is told
    nowhere."""
    silent = socket.create_server(("127.0.0.1", 0))
    try:
        for number, port in enumerate((free_port(), silent.getsockname()[1])):
            store = tmp_path / f"store{number}"
            run = journal_of(store)
            shipping = Shipping(store, f"http://ann:s3cret@127.0.0.1:{port}", wait_seconds=3)
            shipping.start()
            try:
                assert shipping.process is not None
                assert b"s3cret" not in Path(f"/proc/{shipping.process.pid}/cmdline").read_bytes()
                took = []
                for step in range(200):
                    began = time.perf_counter()
                    run.metrics({"loss": float(step)}, step=step)
                    took.append(time.perf_counter() - began)
                    time.sleep(0.005)
                run.end("FINISHED")
                began = time.monotonic()
                shipping.finish()
                assert time.monotonic() - began < 3 + 30, "it waits 3 s; for an answer, the shipper waits minutes"
            finally:
                leave(shipping)
                run.close()
            assert_not_slowed(took)
            assert len(read_from(run.writer.path, 0)[0]) == 202
            told = [path.read_text() for path in store.rglob("*") if path.is_file()]
            assert "s3cret" not in "".join([*told, *capsys.readouterr()])
    finally:
        silent.close()


@pytest.mark.system
@pytest.mark.usefixtures("quiet")
def test_absent_then_up_then_lost_then_back_nothing_is_lost_or_doubled(
    tmp_path: Path, empty_mlflow: Path, popen: Popen
) -> None:
    """One training-like writer, a real server that comes, dies by SIGKILL, and comes again."""
    shutil.copy(empty_mlflow, tmp_path / "server.db")
    port, store = free_port(), tmp_path / "store"
    uri, direct = f"http://127.0.0.1:{port}", f"sqlite:///{tmp_path}/server.db"
    run = journal_of(store)
    stop = threading.Event()
    written = []

    def train() -> None:
        step = 0
        while not stop.wait(0.01):
            step += 1
            run.metrics({"loss": float(step)}, step=step)
            written.append((step, float(step)))

    training = threading.Thread(target=train)
    training.start()
    shipping = Shipping(store, uri, wait_seconds=PATIENCE_SECONDS)
    shipping.start()
    try:
        time.sleep(2)  # absent at the start
        server = serve(port, direct, tmp_path, popen=popen)
        arrived = shipped_bytes(run.journal, uri, above=0)
        server.kill()
        server.wait()
        time.sleep(2)  # lost
        serve(port, direct, tmp_path, popen=popen)
        shipped_bytes(run.journal, uri, above=arrived)
        stop.set()
        training.join()
        run.end("FINISHED")
        shipping.finish()
    finally:
        stop.set()
        training.join()
        run.close()
        leave(shipping)
    assert points(direct, run.id, "loss") == written


def test_terms_of_one_family_are_charts_of_one_section() -> None:
    assert metric_name("loss/flow/velocity") == "loss/flow.velocity"
    assert metric_name("speed/mfu") == "speed/mfu"
    assert metric_name("segments") == "segments"
    assert metric_name("validation_corpus/a/b|c") == "validation_corpus/a.b_c"


@pytest.mark.usefixtures("quiet")
def test_mlflow_is_rebuilt_from_the_store(toys: Path, stipple_run: Run, empty_mlflow: Path) -> None:
    stipple_run()
    uri = f"sqlite:///{toys}/mlflow.db"
    where = ["--store", str(toys / "store"), "--tracking", uri]
    for action in ("ship", "rebuild"):
        (toys / "mlflow.db").unlink(missing_ok=True)
        shutil.copy(empty_mlflow, toys / "mlflow.db")
        words = [sys.executable, "-P", "-m", "infra.cli", "lineage", action, *where]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr == f"MLflow at {uri} has 4 of 4 runs\n"
    api = client(uri)
    runs = api.search_runs([state_experiment(uri)])
    above = next(run for run in runs if run.info.run_name.startswith("toys 20"))
    assert sorted(run.info.run_name for run in runs) == ["one", "three", above.info.run_name, "two"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert [item.path for item in api.list_artifacts(above.info.run_id)] == ["lineage.html"]
