"""One owner at a time: of a lock file, of a folder, of a folder that is being filled. Locks go with their process."""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from infra.storage import empty_folder, named
from infra.workflow.node import Refused


@contextlib.contextmanager
def owned(path: Path, *, waiting: Callable[[str], None] | None = None) -> Iterator[bool]:
    """Hold the lock file `path`: yields True once it is ours. The lock goes with the process, however that ends, and
    with the file: who waited while its folder was moved away waits for the file that lies at `path` by then.

    With `waiting`, waits for another holder after telling who it is; without, yields False at once.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is None:
                    yield False
                    return
                file.seek(0)
                waiting(file.read().decode(errors="replace").strip() or "another process")
                fcntl.flock(file, fcntl.LOCK_EX)
            if lies_at(path, file):
                with named(path):
                    file.truncate(0)
                    file.write(f"process {os.getpid()} on {os.uname().nodename}".encode())
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


SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make `folder`, and hold it while it is filled: of two who fill the same one at once, one does. Where it cannot be
    filled, it is as it was before: the same command can be given again.

    Raises: Refused where there is something in it, or somebody else fills it.
    """
    if url := SCHEME.match(str(folder)):  # a path has lost one of the two slashes
        raise Refused(f"{folder}: is a URL ({url[0]}...), and a folder of this machine is asked for")
    was_there = folder.exists()
    if was_there and not folder.is_dir():
        raise Refused(f"{folder}: is no folder; give a new one")
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder, wait=False) as ours:
        if not ours:
            raise Refused(f"{folder}: another process writes into it; give a new folder")
        if any(folder.iterdir()):
            raise Refused(f"{folder}: is not empty; give a new folder")
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):  # why it cannot be filled is what has to be told
                empty_folder(folder)
                if not was_there:
                    folder.rmdir()
            raise
