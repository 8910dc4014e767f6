"""Files by name under one root, wherever that is: a folder on a disk now, and read the same way from everywhere."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol


class Place(Protocol):
    """A root with files under relative names with forward slashes. All errors are OSError."""

    def read(self, name: str) -> bytes:
        """The whole file."""

    def span(self, name: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of the file, fewer where it ends before."""

    def open(self, name: str) -> IO[bytes]:
        """The file, for those who seek in it."""

    def parquet(self, name: str) -> Any:
        """What pyarrow.parquet reads best: a path that it maps into memory, or a file that seeks."""


@dataclass(frozen=True)
class Folder:
    """A folder on a disk."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes:
        """The whole file."""
        return (self.root / name).read_bytes()

    def span(self, name: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of the file, by one positioned read."""
        handle = os.open(self.root / name, os.O_RDONLY)
        try:
            return os.pread(handle, end - start, start)
        finally:
            os.close(handle)

    def open(self, name: str) -> io.BufferedReader:
        """The file."""
        return (self.root / name).open("rb")

    def parquet(self, name: str) -> str:
        """Its path."""
        return str(self.root / name)
