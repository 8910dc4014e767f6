"""What a run tells of itself, written to disk at once: a folder of JSONL files that only grow. MLflow is fed from it.

    run.json             what the run is: id, name, experiment, kind, parent
    <writer>.jsonl       one file a writer (the driver is `driver`, a training worker `worker-0`): records in order
    shipped-<uri>.json   how much of it an MLflow has (written by infra.lineage)
A record costs about 10 microseconds and survives the death of its process; `sync()` makes it survive a power cut.
"""

import errno
import json
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.storage import named, read_json, write_json

DRIVER = "driver"


@dataclass(frozen=True)
class About:
    """What a run is, fixed when it is made (run.json)."""

    id: str
    name: str
    experiment: str
    kind: str
    parent: str | None = None
    """Our id of the run above it: the workflow."""


def new_id() -> str:
    """32 hex digits."""
    return uuid.uuid4().hex


class JournalWriter:
    """Appends records to `<folder>/<name>.jsonl`. One process, one name; several writers, several files."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.jsonl"
        self.torn = False
        """Does the file end within a line, since the disk took no more? The next one then begins afresh."""
        self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(self.handle).st_size
        if size and os.pread(self.handle, 1, size - 1) != b"\n":
            with named(self.path):
                os.write(self.handle, b"\n")  # a writer was killed in the middle of a line: let the next begin afresh

    def record(self, what: str, value: Mapping[str, Any]) -> None:
        """Append one record of type `what`."""
        line = json.dumps({"t": what, "ms": time.time_ns() // 1_000_000, **value}, default=str, separators=(",", ":"))
        whole = (b"\n" if self.torn else b"") + line.encode() + b"\n"
        self.torn = True
        with named(self.path):
            self.torn = os.write(self.handle, whole) < len(whole)
        if self.torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Points of curves. A key's second point at the same or an earlier step is a step redone: kept, not shipped."""
        self.record("metrics", {"step": step, "v": {key: float(value) for key, value in values.items()}})

    def sync(self) -> None:
        """Through a power cut. Milliseconds: call it at checkpoints, not at steps."""
        with named(self.path):
            os.fsync(self.handle)

    def close(self) -> None:
        """No more from this writer."""
        os.close(self.handle)


class JournalRun:
    """One run, written to its journal at once; nothing here waits for, or knows of, a tracking server."""

    def __init__(self, folder: Path, about: About) -> None:
        self.folder, self.about = folder, about
        if read_json(folder / "run.json") is None:
            write_json(folder / "run.json", asdict(about))
        self.writer = JournalWriter(folder, DRIVER)

    @property
    def id(self) -> str:
        """Our own id of the run (32 hex digits), also the tag `stipple.run` of the MLflow run."""
        return self.about.id

    @property
    def journal(self) -> Path:
        """The folder of the journal: another process (rank 0 of a training job) may append to its own file in it."""
        return self.folder

    def start(self, *, attempt: int) -> None:
        """A new attempt begins: the run is RUNNING (again)."""
        self.writer.record("start", {"attempt": attempt, "pid": os.getpid(), "host": os.uname().nodename})

    def end(self, status: str, *, reason: str = "") -> None:
        """FINISHED, FAILED or KILLED; durable."""
        self.writer.record("end", {"status": status, "reason": reason})
        self.writer.sync()

    def close(self) -> None:
        """No more from this process."""
        self.writer.close()

    def params(self, params: Mapping[str, Any]) -> None:
        """Settings, by name; what a later attempt says otherwise becomes a tag in MLflow."""
        self.writer.record("params", {"v": dict(params)})

    def tags(self, tags: Mapping[str, str]) -> None:
        """Words on the run; the last one of a name stands."""
        self.writer.record("tags", {"v": dict(tags)})

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Points of curves."""
        self.writer.metrics(metrics, step=step)

    def artifact(self, path: Path, *, folder: str = "") -> None:
        """A file or folder to show in MLflow: copied by the shipper, so it must outlive the node (lie in `out`)."""
        self.writer.record("artifact", {"path": str(path), "folder": folder})

    def input_dataset(self, *, name: str, digest: str, uri: str, role: str, facts: Mapping[str, Any]) -> None:
        """A data set that was used as `role`."""
        value = {"name": name, "digest": digest, "uri": uri, "role": role, "facts": dict(facts)}
        self.writer.record("input_dataset", value)

    def output_dataset(self, *, name: str, digest: str, uri: str, facts: Mapping[str, Any]) -> None:
        """A data set that was made."""
        self.writer.record("output_dataset", {"name": name, "digest": digest, "uri": uri, "facts": dict(facts)})

    def input_model(self, *, run: str, role: str) -> None:
        """The model that `run` made was used here as `role`."""
        self.writer.record("input_model", {"run": run, "role": role})

    def output_model(self, *, name: str, uri: str, digest: str, step: int) -> None:
        """A model that was made, after so many steps."""
        self.writer.record("output_model", {"name": name, "uri": uri, "digest": digest, "step": step})


def about(folder: Path) -> About | None:
    """What the run with this journal is; None where there is no whole run.json."""
    value = read_json(folder / "run.json")
    return About(**value) if value is not None else None


def read_from(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Whole records of a journal file from `offset`, and where the next one will begin; torn lines are left out."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data.rfind(b"\n") + 1
    records = []
    for line in data[:whole].splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "t" in record:
            records.append(record)
    return records, offset + whole


def last_end(folder: Path) -> str | None:
    """How the driver's journal says that the run ended; None while it runs, or when it was killed."""
    path = folder / f"{DRIVER}.jsonl"
    if not path.is_file():
        return None
    marks = [record for record in read_from(path, 0)[0] if record["t"] in ("start", "end")]
    return str(marks[-1]["status"]) if marks and marks[-1]["t"] == "end" else None
