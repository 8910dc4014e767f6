"""What of the journals an MLflow has, and the process that sends it the rest while the work goes on.

The shipper is a process of its own, so that a dead, slow or absent MLflow costs the work nothing. Its standard input
tells it the tracking URI, which may hold a password and so is in no list of processes. It ends when that pipe closes:
because the work is done, or because the driver was killed.
"""

import contextlib
import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from infra.journal import about
from infra.log import say
from infra.storage import read_json, write_json


def journals(store: Path) -> dict[str, Path]:
    """Our run id -> folder of its journal, for all runs of a store: workflows first, then by age."""
    found = [*store.glob("_workflows/*/*/journal/run.json"), *store.glob("[!_.]*/*/journal/run.json")]
    found.sort(key=lambda path: (path.parents[3].name != "_workflows", changed_at(path)))
    return {known.id: path.parent for path in found if (known := about(path.parent)) is not None}


def changed_at(path: Path) -> float:
    """When a file was written; 0 where it is gone: a slot may be set aside while it is looked at."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


@dataclass
class Shipped:
    """How much of one journal one MLflow has."""

    path: Path
    of: str = ""
    """Our id of the run: another one has the journal's place where a node was made again."""
    run: str = ""
    """MLflow's id of the run."""
    model: str = ""
    offsets: dict[str, int] = field(default_factory=dict)
    """Journal file -> bytes shipped."""
    last: dict[str, dict[str, int]] = field(default_factory=dict)
    """Journal file -> metric key -> last step shipped: a redone step is not shipped twice."""
    params: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    """What MLflow would not take, and why."""

    @classmethod
    def read(cls, journal: Path, uri: str) -> "Shipped":
        """The state that `save` wrote; none yet for a new journal or a new MLflow."""
        path = journal / f"shipped-{hashlib.sha256(without_login(uri).encode()).hexdigest()[:8]}.json"
        known, told = about(journal), read_json(path) or {}
        of = known.id if known is not None else ""
        return cls(path, **{**told, "of": of}) if told.get("of", of) == of else cls(path, of)

    def save(self) -> None:
        """Written after MLflow took the records; a crash between the two replays them, which changes nothing."""
        write_json(self.path, {key: value for key, value in vars(self).items() if key != "path"})

    def behind(self) -> bool:
        """Is there more in the journal?"""
        files = self.path.parent.glob("*.jsonl")
        with contextlib.suppress(FileNotFoundError):  # set aside meanwhile: it is met again at its new place
            return any(file.stat().st_size > self.offsets.get(file.name, 0) for file in files)
        return False


def pending(store: Path, uri: str) -> list[Path]:
    """Journals that the MLflow at `uri` does not have to their end. Costs a stat a file; imports nothing."""
    database = database_of(uri)
    gone = database is not None and not database.exists()
    return [path for path in journals(store).values() if gone or Shipped.read(path, uri).behind()]


def database_of(uri: str) -> Path | None:
    """The file of an sqlite tracking URI."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def without_login(uri: str) -> str:
    """A tracking URI as if nobody had to say who they are: the same server, whoever asks."""
    return without_password(uri).replace("***@", "")


def without_password(text: str) -> str:
    """Words for a person, or for a file, without who and what a tracking URI is opened with."""
    return re.sub(r"(?<=://)[^/\s]+@|(?<=password=)[^&\s]+", lambda found: "***" + "@" * found[0].endswith("@"), text)


def default_tracking(store: Path) -> str:
    """An sqlite database beside the store."""
    return f"sqlite:///{store.resolve().parent / 'mlflow.db'}"


class Shipping:
    """The driver's side: starts the shipper when there is something to ship, and waits for it at the end, a while."""

    def __init__(self, store: Path, uri: str, *, wait_seconds: float = 60.0) -> None:
        self.store, self.uri, self.wait_seconds = store, uri, wait_seconds
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Shipping":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.finish()

    @property
    def log(self) -> Path:
        """What the shipper says."""
        return self.store / ".shipping.log"

    def start(self) -> None:
        """Start the shipper, once. It leaves this terminal's group, so that Ctrl-C lets it finish its sentence."""
        if self.process is not None:
            return
        self.store.mkdir(parents=True, exist_ok=True)
        words = ["lineage", "ship", "--store", str(self.store), "--follow"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "infra.cli", *words],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.store,
                start_new_session=True,
            )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died, and its log says why
            self.process.stdin.write(self.uri.encode() + b"\n")
            self.process.stdin.flush()

    def finish(self) -> None:
        """Let the shipper send the rest; where it cannot in time, say what holds it and how to send it later."""
        if self.process is None:
            if pending(self.store, self.uri):
                self.start()
            if self.process is None:
                return
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            code = self.process.wait(self.wait_seconds)
        except subprocess.TimeoutExpired:
            say("MLflow is slow: the rest is sent in the background")
            return
        if code:
            last = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            later = f"stipple lineage ship --store {self.store} --tracking {without_password(self.uri)}"
            say(f"MLflow does not have everything yet ({' '.join(last)[:300]}); nothing is lost: `{later}`")
