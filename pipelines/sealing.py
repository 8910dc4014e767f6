"""The sound of a unit on its way to the disk, and how a unit becomes final: sound and result, whole, or neither."""

import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO

from infra.storage import named, part_of

FLUSHED_BYTES = 2_000_000
"""Given to the disk at a time, while the next segments are worked on: so there is little to wait for in the end."""


@cache
def flushers() -> ThreadPoolExecutor:
    """Threads of this process that wait for the disk: for the sound of a unit, and for its result."""
    return ThreadPoolExecutor(2, "flush")


class SoundFile:
    """The FLACs of a unit, one after another, under a name that nobody reads until `seal`; unsealed, nothing stays.

    What a killed process leaves is `<name>.<random>.tmp`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.part = path, part_of(path)
        self.size = self.flushed = 0
        self.file: IO[bytes] | None = None
        self.waiting: list[Future[None]] = []

    def __enter__(self) -> "SoundFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        wait(self.waiting)
        if self.file is not None:
            try:
                self.file.close()
            finally:
                self.part.unlink(missing_ok=True)

    def put(self, data: bytes) -> int:
        """Append; returns where it lies."""
        with named(self.path):
            self.opened().write(data)
        self.size += len(data)
        if self.size - self.flushed >= FLUSHED_BYTES:
            self.begin()
        return self.size - len(data)

    def begin(self) -> None:
        """Begin to bring all that was put to the disk, and go on meanwhile: then `seal` has less to wait for."""
        self.flush(self.opened())
        self.flushed = self.size

    def opened(self) -> IO[bytes]:
        """The file, made when it is needed."""
        if self.file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.part.open("wb")
        return self.file

    def flush(self, file: IO[bytes]) -> None:
        """Begin to bring it to the disk."""
        with named(self.path):
            file.flush()
        self.waiting.append(flushers().submit(os.fsync, file.fileno()))

    def seal(self, result: Path, told: bytes) -> None:
        """Make the unit final; `told` is what its result says. Both are on the disk before either has its name."""
        if self.file is None or self.flushed < self.size:
            self.begin()
        part = part_of(result)
        try:
            with named(result), part.open("wb") as file:
                file.write(told)
                self.flush(file)
                for flushed in self.waiting:
                    flushed.result()
            self.part.replace(self.path)
            part.replace(result)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def clear_parts(folder: Path) -> None:
    """Remove what killed workers of earlier builds left."""
    for part in folder.glob("*.tmp"):
        part.unlink(missing_ok=True)
