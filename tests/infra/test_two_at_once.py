"""Two processes that meet in one store: on a node that is made again, at a killed one's place, at one bundle."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from infra import ancestry
from infra.ancestry import ancestors, find, tree_lines
from infra.journal import JournalRun, last_end
from infra.lineage_cli import lock_of
from infra.locks import owned
from infra.shipping import Shipped, journals
from infra.workflow import store as stores
from infra.workflow.elsewhere import artifact_at
from infra.workflow.node import Job, Outcome, Refused
from infra.workflow.parent import Parent
from infra.workflow.store import Slot, Store
from infra.workflow.summary import NodeResult
from tests.infra.tracker import client, journal_of, points
from tests.processes import PATIENCE_SECONDS

Run = Callable[..., tuple[int, str, str]]
Start = Callable[..., subprocess.Popen[str]]


class Killed(BaseException):
    """As SIGKILL: nothing of ours catches it."""


def test_who_waits_for_a_folder_that_is_moved_away_owns_the_one_that_is_there_then(tmp_path: Path) -> None:
    lock = tmp_path / "slot" / ".lock"
    waits, owns, done = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        with owned(lock, waiting=lambda who: waits.set()):
            owns.set()
            done.wait(PATIENCE_SECONDS)

    waiter = threading.Thread(target=wait)
    with owned(lock):
        waiter.start()
        assert waits.wait(PATIENCE_SECONDS)
        lock.parent.rename(tmp_path / "aside")
    assert owns.wait(PATIENCE_SECONDS)
    try:
        with owned(lock) as free:
            assert not free
    finally:
        done.set()
        waiter.join()


def waiting(run: subprocess.Popen[str]) -> None:
    """Until it says that it waits for somebody."""
    assert run.stderr is not None
    told = []
    while "waiting: " not in (told[-1] if told else ""):
        told.append(run.stderr.readline())
        assert told[-1], "".join(told)


def test_a_node_that_somebody_works_on_is_not_moved_away_to_be_made_again(
    toys: Path, stipple_run: Run, start: Start
) -> None:
    stipple_run()
    slot = Store(toys / "store").slots("one")[0]
    before = slot.made()
    with owned(slot.folder / ".lock"):
        again = start("--until", "one", "--force", "one")
        waiting(again)
        assert slot.made() == before
    out, err = again.communicate(timeout=PATIENCE_SECONDS)
    assert again.returncode == 0, err
    (aside,) = (toys / "store" / "one").glob("*-replaced-*")
    assert before is not None
    assert json.loads((aside / "COMMIT.json").read_text())["run"] == before.run
    assert slot.made() != before


def test_a_node_that_another_run_has_made_again_meanwhile_is_not_made_a_third_time(
    toys: Path, stipple_run: Run, start: Start
) -> None:
    stipple_run()
    slot = Store(toys / "store").slots("one")[0]
    with owned(slot.folder / ".lock"):
        again = start("--until", "one", "--force", "one")
        waiting(again)
        record = json.loads((slot.folder / "COMMIT.json").read_text())
        (slot.folder / "COMMIT.json").write_text(json.dumps(record | {"run": "b" * 32}))
    out, err = again.communicate(timeout=PATIENCE_SECONDS)
    assert "made meanwhile by another run" in err
    assert not list((toys / "store" / "one").glob("*-replaced-*"))


def test_a_node_that_another_run_leaves_unmade_is_gone_on_with_and_said_to_be(
    toys: Path, stipple_run: Run, start: Start
) -> None:
    stipple_run("--until", "one")
    slot = Store(toys / "store").slots("one")[0]
    shutil.rmtree(slot.work)
    (slot.folder / "COMMIT.json").unlink()
    state = slot.folder / "state.json"
    told = state.read_text()
    state.unlink()
    with owned(slot.folder / ".lock"):
        other = start("--until", "one")
        waiting(other)
        state.write_text(told.replace('"committed"', '"failed"'))
    err = other.communicate(timeout=60)[1]
    assert "one    resume: process" in err
    assert "did not make it; goes on from its work folder" in err
    assert slot.state()["attempt"] == 2


def test_nobody_begins_an_attempt_while_a_killed_one_is_marked(
    toys: Path, stipple_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the new attempt is marked as killed, and its number is forgotten."""
    stipple_run("--until", "one")
    slot = Store(toys / "store").slots("one")[0]
    (slot.folder / "COMMIT.json").unlink()
    slot.set_state(status="running")
    seen = []

    def run_of(slot: Slot) -> JournalRun | None:
        with owned(slot.folder / ".lock") as free:
            seen.append(free)
        return None

    monkeypatch.setattr(stores, "run_of", run_of)
    assert Store(toys / "store").reap(lambda line: None) == 1
    assert seen == [False]
    assert slot.state()["status"] == "killed"


@pytest.mark.parametrize("killed_in", ["metrics", "end"])
def test_killed_between_its_commit_and_its_last_word_a_run_is_ended(
    toys: Path, stipple_run: Run, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    usual = getattr(JournalRun, killed_in)

    def killed(run: JournalRun, *words: object, **more: object) -> None:
        if run.about.name == "one" and (run.folder.parent / "COMMIT.json").exists():
            raise Killed
        usual(run, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(JournalRun, killed_in, killed)
        with pytest.raises(Killed):
            stipple_run("--until", "one")
    slot = Store(toys / "store").slots("one")[0]
    assert slot.made() is not None
    assert last_end(slot.journal) is None
    Store(toys / "store").reap(lambda line: None)
    assert last_end(slot.journal) == "FINISHED"
    assert slot.state()["status"] == "committed"


def test_what_a_model_was_made_of_is_told_of_the_run_that_made_it_though_that_was_made_again(
    toys: Path, stipple_run: Run
) -> None:
    stipple_run()
    store = Store(toys / "store")
    before = store.slots("one")[0].state()["run"]
    stipple_run("--until", "one", "--force", "one")
    assert store.slots("one")[0].state()["run"] != before
    assert f"left  one@{ancestors(store, find(store, 'one')).digest[:8]}  run {before[:8]}" in "\n".join(
        tree_lines(ancestors(store, find(store, "three")))
    )


def test_a_node_that_was_set_aside_and_not_made_again_is_made(toys: Path, stipple_run: Run) -> None:
    """As a run with --force leaves it that is killed at once; also what others find while it begins."""
    stipple_run("--until", "one")
    store = Store(toys / "store")
    store.set_aside(store.slots("one")[0])
    code, out, _ = stipple_run("--until", "one", "--dry-run")
    assert (code, "set aside, and not made again yet" in out) == (0, True)
    assert stipple_run("--until", "one")[0] == 0


def test_a_run_tells_what_it_made_though_another_has_set_it_aside(
    toys: Path, stipple_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, usual = Store(toys / "store"), Parent.view

    def aside(parent: Parent, rows: Mapping[str, NodeResult], path: Path) -> Path:
        store.set_aside(store.slots("three")[0])
        return usual(parent, rows, path)

    monkeypatch.setattr(Parent, "view", aside)
    assert stipple_run()[0] == 0
    (above,) = store.workflow_runs("toys")
    assert above.state()["status"] == "committed"
    assert "three@" in (above.out / "lineage.html").read_text()
    with pytest.raises(Refused, match="nothing is made there; somebody may be making it again"):
        ancestors(store, Slot(toys / "store" / "three" / store.slots("three")[0].folder.name.partition("-")[0]))


def test_a_node_whose_input_is_set_aside_while_it_is_read_says_so(
    toys: Path, stipple_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import toy_kind

    store, usual = Store(toys / "store"), toy_kind.run

    def aside(job: Job) -> Outcome:
        if job.inputs:
            store.set_aside(store.slots("one")[0])
        return usual(job)

    monkeypatch.setattr(toy_kind, "run", aside)
    _, _, err = stipple_run("--until", "two")
    assert "two    failed: its left was set aside meanwhile, to be made again; run the same command again" in err


def test_a_name_is_found_while_an_artifact_of_it_is_set_aside(
    toys: Path, stipple_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stipple_run("--until", "two")
    store, usual, asked = Store(toys / "store"), Slot.commit_record, list[Slot]()

    def record(slot: Slot) -> object:
        asked.append(slot)
        return usual(slot) if asked.count(slot) == 1 or slot.folder.parent.name == "one" else None

    monkeypatch.setattr(ancestry.Slot, "commit_record", record)
    assert find(store, "one").folder.parent.name == "one"


def test_a_bundle_from_elsewhere_is_there_at_every_moment_for_all_who_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "config.json").write_text("{}")
    store, usual = Store(tmp_path / "store"), Path.symlink_to

    def beaten(link: Path, target: Path) -> None:
        """Somebody else is faster by a moment."""
        with monkeypatch.context() as patch:
            patch.setattr(Path, "symlink_to", usual)
            artifact_at(tmp_path / "bundle", store)
        usual(link, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "symlink_to", beaten)
        made = artifact_at(tmp_path / "bundle", store)
    assert (made.out / "bundle" / "config.json").read_text() == "{}"

    def gone(link: Path, missing_ok: bool = False) -> None:
        raise AssertionError(f"{link} is gone for a moment")

    monkeypatch.setattr(Path, "unlink", gone)
    assert artifact_at(tmp_path / "bundle", store) == made
    assert [path.name for path in made.out.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("quiet")
def test_a_node_made_again_while_its_journal_is_sent_has_a_run_of_its_own(
    tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipper notes how much of the old journal was sent where the new one lies by then."""
    from infra.lineage import Shipper

    store, uri = tmp_path / "store", f"sqlite:///{tmp_path}/mlflow.db"
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    old = journal_of(store, run="a" * 32)
    slot = Slot(old.folder.parent)
    (slot.out).mkdir()
    (slot.out / "page.html").write_text("old")
    for step in range(1, 9):
        old.metrics({"loss": float(step)}, step=step)
    old.artifact(slot.out / "page.html")
    usual, made = Shipper.new_points, list[JournalRun]()

    def moved(self: Shipper, *words: object) -> object:
        if not made:
            Store(store).set_aside(slot)
            made.append(journal_of(store, run="b" * 32))
            made[0].metrics({"loss": -1.0}, step=1)
            slot.out.mkdir()
            (slot.out / "page.html").write_text("new")
        return usual(self, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(Shipper, "new_points", moved)
    Shipper(store, uri).ship_all()
    Shipper(store, uri).ship_all()
    assert points(uri, "a" * 32, "loss") == [(step, float(step)) for step in range(1, 9)]
    assert points(uri, "b" * 32, "loss") == [(1, -1.0)]
    aside = journals(store)["a" * 32]
    assert aside.parent.name.endswith("-replaced-1")
    sent = client(uri).download_artifacts(Shipped.read(aside, uri).run, "page.html")
    assert Path(sent).read_text() == "old"


def test_journals_are_found_while_one_of_them_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    journal_of(store, "one")
    gone = journal_of(store, "two").folder
    usual = Path.glob

    def moved(path: Path, pattern: str) -> object:
        found = list(usual(path, pattern))
        if pattern.startswith("[") and gone.exists():
            Store(store).set_aside(Slot(gone.parent))
        return iter(found)

    monkeypatch.setattr(Path, "glob", moved)
    assert [path.parent.parent.name for path in journals(store).values()] == ["one"]
    monkeypatch.undo()
    assert len(journals(store)) == 2


def test_shippers_of_two_stores_take_turns_at_the_database_that_they_share(tmp_path: Path) -> None:
    """Two MLflows that make its tables at once break it for good."""
    for name in ("one", "two"):
        journal_of(tmp_path / name / "store")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    locks = [lock_of(Store(tmp_path / name / "store"), uri) for name in ("one", "two")]
    words = ["lineage", "ship", "--store", str(tmp_path / "one" / "store"), "--tracking", uri]
    with owned(locks[1]):
        shipper = subprocess.Popen([sys.executable, "-P", "-m", "infra.cli", *words], stderr=subprocess.PIPE, text=True)
        try:
            waiting(shipper)
        finally:
            shipper.kill()
            shipper.communicate()
    assert not (tmp_path / "mlflow.db").exists()
    assert lock_of(Store(tmp_path / "one" / "store"), "http://host").parent == tmp_path / "one" / "store"
