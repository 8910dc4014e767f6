"""What an endpoint has answered, and what that cost: one file that only grows, shared by all workers of all jobs.

`answers.jsonl` in the folder holds a line a fact:
    {"key": ..., "answer": {...}}           what it said of a sound; the first answer stands
    {"key": ..., "refused": "..."}          it will say nothing of this sound
    {"spent": [requests, seconds, money]}   before each request; less where a reply says that it cost less
A line is appended whole under a lock; one that a crash tore is passed over.
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from infra.storage import named


@dataclass(frozen=True)
class Spent:
    """Requests sent, seconds of audio sent, money by the prices of the manifest."""

    requests: int = 0
    audio_seconds: float = 0.0
    money: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.requests + other.requests, self.audio_seconds + other.audio_seconds, self.money + other.money)


@dataclass(frozen=True)
class Caps:
    """What may be spent in all; None: any amount."""

    requests: int | None = None
    audio_seconds: float | None = None
    money: float | None = None

    def over(self, spent: Spent) -> str | None:
        """Which cap `spent` would pass, as words; None where it passes none."""
        if self.requests is not None and spent.requests > self.requests:
            return f"budget of {self.requests} requests is spent"
        if self.audio_seconds is not None and spent.audio_seconds > self.audio_seconds:
            return f"budget of {self.audio_seconds / 3600:g} hours of audio is spent"
        if self.money is not None and spent.money > self.money * (1 + 1e-9):
            return f"budget of {self.money:g} in money is spent"
        return None


@dataclass
class Memory:
    """The answers in `folder`, for this process and all others; about 150 bytes of memory an answer."""

    folder: Path
    caps: Caps
    spent: Spent = Spent()
    _places: dict[bytes, int] = field(default_factory=dict)
    """Key -> where its line begins."""
    _read: int = 0
    _threads: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The line for `key`, whoever wrote it; None where nobody has."""
        with self._threads, self._open() as file:
            self._catch_up(file)
            return self._line(file, key)

    def reserve(self, cost: Spent) -> str | None:
        """Spend `cost`; or, where that would pass a cap, spend nothing and say which. All workers count together."""
        with self._threads, self._open() as file, locked(file):
            self._catch_up(file)
            over = self.caps.over(self.spent + cost)
            if over is None:
                self._append(file, {"spent": [cost.requests, cost.audio_seconds, cost.money]})
            return over

    def put(self, key: str, fact: Mapping[str, Any], *, settle: Spent | None = None) -> Mapping[str, Any]:
        """Store `fact` for `key` unless somebody has; returns what stands. `settle` corrects what was reserved."""
        with self._threads, self._open() as file, locked(file):
            self._catch_up(file)
            if settle is not None:
                self._append(file, {"spent": [settle.requests, settle.audio_seconds, settle.money]})
            before = self._line(file, key)
            if before is not None:
                return before
            self._append(file, {"key": key, **fact})
            os.fsync(file.fileno())
            return fact

    def settle(self, change: Spent) -> None:
        """Correct what was reserved."""
        with self._threads, self._open() as file, locked(file):
            self._append(file, {"spent": [change.requests, change.audio_seconds, change.money]})

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Hold `key` against other processes, so that two never ask the same; the lock goes with the process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"asking-{key[:3]}").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "answers.jsonl"
        with named(path), path.open("a+b") as file:
            yield file

    def _line(self, file: BinaryIO, key: str) -> Mapping[str, Any] | None:
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        file.seek(place)
        found: Mapping[str, Any] = json.loads(file.readline())
        return found

    def _catch_up(self, file: BinaryIO) -> None:
        """Read what others have appended since."""
        file.seek(self._read)
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                fact = json.loads(line)
                if "spent" in fact:
                    self.spent += Spent(*fact["spent"])
                else:
                    self._places.setdefault(bytes.fromhex(fact["key"]), self._read)
            except (ValueError, LookupError, TypeError):
                pass  # torn by a crash, and ended by whoever appended next
            self._read += len(line)

    def _append(self, file: BinaryIO, fact: Mapping[str, Any]) -> None:
        """A line, at the end, under the lock; a torn line before it is ended first."""
        end = file.seek(0, os.SEEK_END)
        torn = False
        if end:
            file.seek(end - 1)
            torn = file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(fact, ensure_ascii=False).encode() + b"\n")
        file.flush()
        self._catch_up(file)


@contextmanager
def locked(file: BinaryIO) -> Iterator[None]:
    """Hold the file against other processes."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
