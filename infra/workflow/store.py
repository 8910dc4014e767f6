"""Where artifacts lie: a folder per fingerprint, owned by one process at a time, whole once COMMIT.json is there.

<store>/<node>/<first 16 digits of the fingerprint>/
    state.json     attempts, the run, who works on it; written before the work
    out/           the artifact
    work/          checkpoints and ledgers, kept between attempts
    journal/       what the run told (infra.journal)
    log.txt        tracebacks of failed attempts
    COMMIT.json    written last: what was made of what; the truth, from which MLflow can be rebuilt
"""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.journal import JournalRun, about, last_end
from infra.locks import owned
from infra.storage import read_json, sync_tree, write_json
from infra.waiting import beside
from infra.workflow.fingerprint import Parts
from infra.workflow.node import Made, Outcome

SCHEMA = "stipple/commit/1"
WORKFLOWS = "_workflows"
"""The store's folder of workflow runs: no node can have this name."""

SET_ASIDE = "-replaced-"
"""Between a fingerprint and a number, in the name of a slot that was made again."""

LEASE_SECONDS = 600.0
"""A run on another host whose state was not touched for so long has died; on this host the lock tells."""


@dataclass(frozen=True)
class Slot:
    """The folder of one fingerprint of one node."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def state(self) -> dict[str, Any]:
        """state.json, or an empty table."""
        return read_json(self.folder / "state.json") or {}

    def set_state(self, **changes: Any) -> dict[str, Any]:
        """Change some keys of state.json, durably."""
        state = self.state() | changes
        write_json(self.folder / "state.json", state)
        return state

    def begin(self, **about: Any) -> None:
        """Note that this process is at work here from now on."""
        self.set_state(**about, status="running", started=time.time(), pid=os.getpid(), host=os.uname().nodename)

    def commit_record(self) -> dict[str, Any] | None:
        """COMMIT.json, if the artifact is whole."""
        return read_json(self.folder / "COMMIT.json")

    def made(self) -> Made | None:
        """The artifact, if it is whole."""
        record = self.commit_record()
        return made_from(record, self.folder) if record else None

    def is_of(self, run: str) -> bool:
        """Is what is made here of this run?"""
        made = self.made()
        return made is not None and made.run == run

    def commit(self, outcome: Outcome, facts: Mapping[str, Any]) -> Made:
        """Make the artifact durable, then say so: after this it never changes. The state says `running` on, until the
        run has ended, too."""
        sync_tree(self.out)
        record = {"schema": SCHEMA, **facts, "digest": outcome.digest, "summary": dict(outcome.summary)}
        write_json(self.folder / "COMMIT.json", record | {"committed": time.time()})
        made = self.made()
        assert made is not None
        return made

    @contextlib.contextmanager
    def lease(self, *, waiting: Callable[[str], None]) -> Iterator[None]:
        """Own this folder, waiting for whoever does; touch its state now and then, for those on other hosts."""
        with owned(self.folder / ".lock", waiting=waiting), beside(self._beat, name=f"lease of {self.folder.name}"):
            yield

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(15):
            with contextlib.suppress(OSError):
                os.utime(self.folder / "state.json")

    def left_running(self) -> bool:
        """Does the state say `running` although nobody is at work? Then its process was killed."""
        with self.left() as left:
            return left

    @contextlib.contextmanager
    def left(self) -> Iterator[bool]:
        """The same, and while it lasts nobody begins to work here."""
        if self.state().get("status") != "running":
            yield False
            return
        with owned(self.folder / ".lock") as free:
            state = self.state()  # of somebody else, perhaps, who has come and gone meanwhile
            left = free and state.get("status") == "running"
            if left and state.get("host") != os.uname().nodename:
                left = time.time() - (self.folder / "state.json").stat().st_mtime > LEASE_SECONDS
            yield left


def newest_first(states: Iterable[Path]) -> list[Slot]:
    """The slots of these state.json, by when their last attempt began: the times of files change when a store is
    copied."""
    slots = [Slot(path.parent) for path in states]
    return sorted(slots, key=lambda slot: -float(slot.state().get("started", 0)))


def made_from(record: Mapping[str, Any], folder: Path) -> Made:
    """An artifact as its COMMIT.json, in `folder`, describes it."""
    keys = ("kind", "name", "digest", "fingerprint", "run")
    return Made(**{key: record[key] for key in keys}, out=folder / "out", summary=record.get("summary", {}))


@dataclass(frozen=True)
class Store:
    """All slots of all nodes."""

    root: Path

    def slot(self, node: str, fingerprint: str) -> Slot:
        """The folder of a fingerprint, made or not."""
        return Slot(self.root / node / fingerprint[:16])

    def slots(self, node: str | None = None) -> list[Slot]:
        """Slots with a state, of one node or of all, newest first."""
        return newest_first(self.root.glob(f"{node or '[!_.]*'}/*/state.json"))

    def workflow_runs(self, workflow: str | None = None) -> list[Slot]:
        """Runs of workflows: slots with a journal and a state, but no artifact of their own; newest first."""
        return newest_first(self.root.glob(f"{WORKFLOWS}/{workflow or '*'}/*/state.json"))

    def earlier(self, node: str) -> list[tuple[str, Parts]]:
        """Fingerprints and facts of what was made, or begun, under this node's name; newest first."""
        return [
            (state["fingerprint"], state["parts"]) for slot in self.slots(node) if "parts" in (state := slot.state())
        ]

    def by_run(self, run: str) -> Slot | None:
        """The slot whose run has this id (or whose id begins so)."""
        return next((slot for slot in self.slots() if str(slot.state().get("run", "")).startswith(run)), None)

    def made_by(self, run: str, *, at: Slot) -> tuple[Slot, dict[str, Any]] | None:
        """Slot and COMMIT.json of what a run has made: at that place, or where it was moved or set aside since."""
        slot = at if not run or at.is_of(run) else self.by_run(run) or at
        record = slot.commit_record()
        return (slot, record) if record is not None and record["run"] == run else None

    def found(self, path: str) -> str:
        """Where a path lies that a job has noted: there, or, where a store was moved, at the same place in this one."""
        parts = Path(path).parts
        if "://" not in path and not Path(path).exists():
            for at in (number for number, part in enumerate(parts) if part in ("out", "work") and number > 1):
                if (here := self.root.joinpath(*parts[at - 2 :])).exists():
                    return str(here)
        return path

    def set_aside(self, slot: Slot) -> None:
        """Keep an artifact under another name, so that its node can be made again. Whoever asks holds its lease."""
        number = 1
        while (aside := slot.folder.with_name(f"{slot.folder.name}{SET_ASIDE}{number}")).exists():
            number += 1
        shutil.move(slot.folder, aside)

    def reap(self, tell: Callable[[str], None]) -> int:
        """End the runs that a kill left RUNNING, in their state and their journal. How many there were."""
        count = 0
        for slot in [*self.slots(), *self.workflow_runs()]:
            with slot.left() as left:
                if not left:
                    continue
                run = run_of(slot)
                whole = slot.commit_record() is not None
                if run is not None and last_end(slot.journal) is None:
                    run.end(
                        "FINISHED" if whole else "KILLED", reason="" if whole else "its process ended without a word"
                    )
                slot.set_state(status="committed" if whole else "killed")
            if not whole:
                tell(f"{slot.folder.parent.name}: attempt {slot.state().get('attempt', 1)} was killed; marked so")
            count += 1
        return count


def run_of(slot: Slot) -> JournalRun | None:
    """The run whose journal lies in a slot, to add to it; None where none was begun."""
    known = about(slot.journal)
    return JournalRun(slot.journal, known) if known is not None else None
