"""Files that are whole or absent: atomic writes, digests of trees, room on the disk, one owner at a time."""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
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


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `path` whole or not at all, through a power cut: temporary file, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode() if isinstance(data, str) else data
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
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
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    """`write_atomic` of readable JSON."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The table in `path`; None where there is no such file or it is torn (a torn file of ours was never committed)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return value if isinstance(value, dict) else None


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make every file under `folder` durable, so that a commit never points at bytes that a power cut can take."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    sync_folder(folder)


def file_digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(root: Path) -> str:
    """sha256 over the relative names and the contents of all files under `root` (or of the one file)."""
    if root.is_file():
        return file_digest(root)
    whole = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        whole.update(f"{path.relative_to(root).as_posix()}\0{file_digest(path)}\n".encode())
    return whole.hexdigest()


def glance(root: Path) -> str:
    """Digest of what lies at a path, by the names and sizes of its files and the first and the last MiB of each: tells
    other weights of the same shapes apart without reading all of them. `absent` where nothing is there."""
    if not root.exists():
        return "absent"
    whole = hashlib.sha256()
    for path in [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file()):
        size = path.stat().st_size
        whole.update(f"{path.relative_to(root).as_posix()}\0{size}\n".encode())
        with path.open("rb") as file:
            whole.update(file.read(2**20))
            file.seek(max(0, size - 2**20))
            whole.update(file.read(2**20))
    return whole.hexdigest()


def empty_folder(folder: Path) -> None:
    """Make `folder` exist and hold nothing."""
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def require_free(folder: Path, *, megabytes: int, what: str) -> None:
    """Refuse before the work where the disk has no room for it."""
    at = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(at).free // 2**20
    if free < megabytes:
        raise Refused(
            f"{folder}: {free} MB free, but {what} needs {megabytes} MB; free some space, or name another store"
        )


def os_error_sentence(error: OSError) -> str | None:
    """A sentence for what the machine refuses (full disk, rights, ports); None for errors that are our own."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}: free some space and run the same command again"
    if error.errno == errno.EFBIG:
        return f"a file would grow over this system's limit{where}: raise it (ulimit -f) and run the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"not allowed to write or read here{where}: {os.strerror(error.errno)}"
    if error.errno == errno.ENOTDIR:
        return f"a file is where a folder should be{where}: name another place"
    if error.errno == errno.EIO:
        return f"the disk, or the network behind it, fails{where}: {os.strerror(error.errno)}; look after it"
    if error.errno == errno.EADDRINUSE:
        return "the port is in use: stop what listens on it, or name another port"
    if error.errno == errno.EMFILE:
        return "too many open files: raise the limit (ulimit -n 4096) and run the same command again"
    return None


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


@contextlib.contextmanager
def owned(path: Path, *, waiting: Callable[[str], None] | None = None) -> Iterator[bool]:
    """Hold the lock file `path`: yields True once it is ours. The lock goes with the process, however that ends, and
    with the file: who waited while its folder was moved away waits for the file that lies at `path` by then.

    With `waiting`, waits for another holder after telling who it is; without, yields False at once.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is None:
                    yield False
                    return
                file.seek(0)
                waiting(file.read().strip() or "another process")
                fcntl.flock(file, fcntl.LOCK_EX)
            if lies_at(path, file):
                file.seek(0)
                file.truncate()
                file.write(f"process {os.getpid()} on {os.uname().nodename}")
                file.flush()
                yield True
                return


def lies_at(path: Path, file: IO[Any]) -> bool:
    """Is it this open file that has the name now?"""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def alone_in(folder: Path, *, reading: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a folder against others who ask so, or while `reading` against those who write; no file is left in it.
    Yields True once it is ours; without `wait`, False at once where somebody has it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if reading else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            ours = True
        except BlockingIOError:
            ours = False
        yield ours
    finally:
        os.close(handle)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make `folder`, and hold it while it is filled: of two who fill the same one at once, one does.

    Raises: Refused where there is something in it, or somebody else fills it.
    """
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder}: is no folder; give a new one")
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder, wait=False) as ours:
        if not ours:
            raise Refused(f"{folder}: another process writes into it; give a new folder")
        if any(folder.iterdir()):
            raise Refused(f"{folder}: is not empty; give a new folder")
        yield
