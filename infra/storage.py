"""Files that are whole or absent, through a power cut; folders emptied; room on the disk."""

import contextlib
import io
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from infra.workflow.node import Refused

ROOT = Path(__file__).resolve().parents[1]
"""The checkout: where the code that runs lies."""


def root_of(manifest: Path) -> Path:
    """What relative paths of a manifest are relative to: the checkout it lies in, or else its own folder."""
    folder = manifest.resolve().parent
    for parent in (folder, *folder.parents):
        if (parent / "pyproject.toml").is_file():
            return parent
    return folder


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an OSError say what it is about: a write, a flush and a sync that fail know only a number of their file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write `path` into a folder that is not read before it is whole."""
    with named(path):
        path.write_bytes(data)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `path` whole or not at all, through a power cut: temporary file, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode() if isinstance(data, str) else data
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with named(path), os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    sync_folder(path.parent)


def require_place(path: Path, *, what: str) -> None:
    """Refuse before the work where `write_atomic` could not write `path`; tried with an empty file of another name."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise Refused(f"{what} cannot be written: {os.strerror(error.errno or 0)}; name another place") from None


def part_of(path: Path) -> Path:
    """What a file is called until it is whole: another name each time, for two processes may make the same one."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write piece by piece, which appears under its name only when it is whole, and on the disk.

    What a killed process leaves is `<name>.<random>.tmp`. The caller makes the rename durable (`sync_folder`).
    """
    part = part_of(path)
    try:
        with named(path), part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    """`write_atomic` of readable JSON."""
    write_atomic(path, json_text(value))


def json_text(value: object) -> str:
    """Readable JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


def read_json(path: Path) -> dict[str, Any] | None:
    """The table in `path`; None where there is no such file or it is torn (a torn file of ours was never committed)."""
    try:
        with named(path):
            value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return value if isinstance(value, dict) else None


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    sync(folder)


def sync_tree(folder: Path) -> None:
    """Make every file under `folder` durable, so that a commit never points at bytes that a power cut can take."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            sync(path)
    sync_folder(folder)


def sync(path: Path) -> None:
    """Make what the kernel holds of a file or a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with named(path):
            os.fsync(handle)
    finally:
        os.close(handle)


def empty_folder(folder: Path) -> None:
    """Make `folder` exist and hold nothing. One that is there is kept: its rights, its lock, a link to it."""
    folder.mkdir(parents=True, exist_ok=True)
    for inside in folder.iterdir():
        if inside.is_dir() and not inside.is_symlink():
            shutil.rmtree(inside)
        else:
            inside.unlink()


def out_of_sight(folder: str | Path) -> str:
    """A sentence for a folder that is not there for this machine, which another one works in; empty where it is."""
    if Path(folder).is_dir():
        return ""
    return f"{os.uname().nodename} does not see {folder}: the store must be a folder that all machines see"


def require_free(folder: Path, *, megabytes: int, what: str, instead: str = "name another store") -> None:
    """Refuse before the work where the disk has no room for it."""
    at = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(at).free // 2**20
    if free < megabytes:
        raise Refused(f"{folder}: {free} MB free, but {what} needs {megabytes} MB; free some space, or {instead}")


class Seekable(io.RawIOBase):
    """A file for reading that knows where it is: what reads at `at` need not say so again."""

    at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self.at
