"""Files by name under one root, on a disk or in a store: read whole or by range, written whole or not at all."""

import contextlib
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from infra.digests import file_digest
from infra.storage import named, part_of, read_json, replacing, sync_folder, write_json

if TYPE_CHECKING:
    from infra.buckets import Storage

CHUNK = 8 * 2**20
"""Bytes that are read and sent at a time."""


POINTER = "published.json"
"""In a folder that stands for what lies in an object store: its URL, and how the store is reached."""


@dataclass(frozen=True)
class Stored:
    """A file that is there."""

    bytes: int
    sha256: str | None
    """None where whoever wrote it has not noted it."""


class Place(Protocol):
    """A root with files under relative names with forward slashes. All errors are OSError."""

    def inside(self, name: str) -> "Place":
        """A folder in it."""

    def read(self, name: str) -> bytes:
        """The whole file."""

    def span(self, name: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of the file, fewer where it ends before."""

    def open(self, name: str) -> IO[bytes]:
        """The file, for those who seek in it."""

    def parquet(self, name: str) -> Any:
        """What pyarrow.parquet reads best: a path that it maps into memory, or a file that seeks."""

    def stored(self, name: str) -> Stored | None:
        """What is known of the file; None where there is no such."""

    def put(self, name: str, data: Iterable[bytes], *, sha256: str) -> None:
        """Write the file, over another one: whole, or not at all. Where `data` raises, nothing is written."""

    def create(self, name: str, data: bytes) -> bool:
        """Write the file where there is none yet; False, and nothing is changed, where there is one."""


@dataclass(frozen=True)
class Folder:
    """A folder on a disk."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def inside(self, name: str) -> "Folder":
        """A folder in it."""
        return Folder(self.root / name)

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

    def stored(self, name: str) -> Stored | None:
        """Its size, and its hash, for which it is read."""
        path = self.root / name
        return Stored(path.stat().st_size, file_digest(path)) if path.is_file() else None

    def put(self, name: str, data: Iterable[bytes], *, sha256: str) -> None:
        """Write the file beside its place, flush it, and move it there."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            for chunk in data:
                file.write(chunk)
        sync_folder(path.parent)

    def create(self, name: str, data: bytes) -> bool:
        """Write the file beside its place, then link it there, which fails where there is one."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(path)
        try:
            with named(path), part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(part, path)
        except FileExistsError:
            return False
        finally:
            with contextlib.suppress(FileNotFoundError):
                part.unlink()
        sync_folder(path.parent)
        return True


def place_of(where: str | Path, storage: "Storage | None" = None) -> Place:
    """The place that a path, or a URL as `s3://bucket/prefix`, stands for; a folder may point to a store.

    Raises: StorageError for a URL that nobody can read.
    """
    told = None
    if isinstance(where, Path) or "://" not in where:
        told = read_json(Path(where) / POINTER)
        if told is None:
            return Folder(Path(where))
    from infra.buckets import Bucket, Storage

    if told is not None:
        return Bucket(told["url"], storage or Storage(**told["storage"]))
    return Bucket(str(where).rstrip("/"), storage or Storage())


def point(folder: Path, url: str, storage: "Storage | None" = None) -> None:
    """Make `folder` stand for what lies at a URL."""
    from infra.buckets import Storage

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / POINTER, {"url": url, "storage": (storage or Storage()).model_dump(exclude_defaults=True)})
