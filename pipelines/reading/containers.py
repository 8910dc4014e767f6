"""Where the bytes of a recording lie: in a file, in a member of a tar, in a cell of a table. A `uri` says which.

    /data/a.wav                            a file
    /data/b.tar!/b/000.mp3@1536+20480      a member of a tar: 20480 bytes from byte 1536 on; where the tar is gzip, the
                                           offset is into what it unpacks to
    /data/c.parquet#0/17/audio.bytes       a cell: row group (or record batch), row in it, column
Nothing is unpacked to disk. This is the one place that turns a `uri` into bytes; it opens plain files alone: no URL, no
command, no device.
"""

import io
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from infra.storage import Seekable, named
from pipelines.reading.cells import Cells
from pipelines.reading.gzips import GzipStream
from pipelines.reading.inside import PROTOCOL

MEMBER = re.compile(r"(?P<path>.+?\.(?i:tar|tgz|tar\.gz))!/(?P<member>.*)@(?P<offset>\d+)\+(?P<length>\d+)", re.DOTALL)
CELL = re.compile(r"(?P<path>.+?\.(?i:parquet|arrow))#(?P<group>\d+)/(?P<row>\d+)/(?P<column>[^/#]+)", re.DOTALL)
IN_MEMORY = 1 << 26
"""Bytes of a member of a compressed tar that are held in memory; a longer one goes through a temporary file."""


class Unreadable(OSError):  # noqa: N818 - reads as what the recording is
    """The bytes of a recording cannot be had. The message is the reason."""


@dataclass(frozen=True)
class Uri:
    """A `uri`, taken apart."""

    path: Path
    """Of the file on the disk."""
    member: str | None = None
    offset: int = 0
    length: int = 0
    group: int = 0
    row: int = 0
    column: str | None = None


def member_uri(path: str | Path, *, member: str, offset: int, length: int) -> str:
    """The `uri` of a member of a tar."""
    return f"{os.fspath(path)}!/{member}@{offset}+{length}"


def cell_uri(path: str | Path, *, group: int, row: int, column: str) -> str:
    """The `uri` of a cell of a table."""
    return f"{os.fspath(path)}#{group}/{row}/{column}"


def parse_uri(uri: str, *, is_folder: Callable[[str], bool] = os.path.isdir) -> Uri:
    """What a `uri` says. Where there is a file of just that name, it is meant.

    Raises: Unreadable for URLs and commands.
    """
    found = archive_in(uri, is_folder=is_folder)
    if found is None:
        return Uri(Path(uri))
    if found.re is MEMBER:
        return Uri(Path(found["path"]), found["member"], int(found["offset"]), int(found["length"]))
    group, row = int(found["group"]), int(found["row"])
    return Uri(Path(found["path"]), group=group, row=row, column=found["column"])


def archive_in(uri: str, *, is_folder: Callable[[str], bool]) -> re.Match[str] | None:
    """The match of MEMBER or CELL, where a `uri` leads into a file.

    Raises: Unreadable for URLs and commands.
    """
    if PROTOCOL.match(uri):
        raise Unreadable("it is a URL or a command, not a file")
    found = MEMBER.fullmatch(uri) or CELL.fullmatch(uri)
    if found and is_folder(uri[: uri.index("/", found.end("path"))]) and os.path.isfile(uri):
        return None  # folders may be called like archives
    return found


def file_of(uri: str) -> Path:
    """The file on the disk that a `uri` leads to: what can be asked for its size and its time."""
    return parse_uri(uri).path


class Files:
    """What the disk says of the files that recordings lie in, asked once for each, while one goes over a catalog:
    those of an archive come together, and there may be a hundred thousand of them."""

    def __init__(self) -> None:
        self.is_folder = lru_cache(64)(os.path.isdir)
        self.facts = lru_cache(64)(facts_of_file)

    def file_of(self, uri: str) -> str:
        """See `file_of`; as text, since a Path takes longer to make than all the rest."""
        found = archive_in(uri, is_folder=self.is_folder)
        return uri if found is None else found["path"]

    def written(self, uri: str) -> int | None:
        """When the file, or the archive around it, was last written, in nanoseconds; None where there is none."""
        try:
            facts = self.facts(self.file_of(uri))
        except (OSError, ValueError):
            return None
        return None if facts is None else facts.st_mtime_ns


def facts_of_file(path: str) -> os.stat_result | None:
    """What the disk says of a file; None where there is nothing."""
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def version_of(uri: str) -> tuple[int, ...] | None:
    """What tells the file that a `uri` leads to from the same one written anew; None where it cannot be asked."""
    try:
        facts = file_of(uri).stat()
    except (OSError, ValueError):
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


class Window(Seekable):
    """A part of a file, as a file."""

    def __init__(self, file: BinaryIO, *, start: int, length: int) -> None:
        self.file, self.start, self.length = file, start, length

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = max(offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.length}[whence], 0)
        return self.at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        view = memoryview(buffer)[: max(self.length - self.at, 0)]
        self.file.seek(self.start + self.at)
        count = self.file.readinto(view)  # type: ignore[attr-defined]
        self.at += count
        return int(count)


class Opener:
    """Opens recordings one after the other. It keeps the archive and the table at hand that it read last."""

    def __init__(self) -> None:
        self.cells = Cells()
        self.archive: tuple[Path, int, GzipStream] | None = None

    @contextmanager
    def open(self, uri: str) -> Iterator[BinaryIO]:
        """The bytes that a `uri` stands for, as a file that can seek.

        Raises: Unreadable; OSError where the disk fails.
        """
        parsed = parse_uri(uri)
        plain(parsed.path)
        if parsed.column is not None:
            yield io.BytesIO(self.cells.read(parsed.path, group=parsed.group, row=parsed.row, column=parsed.column))
            return
        with parsed.path.open("rb") as file:
            if parsed.member is None:
                yield file
            elif packed(file):
                with self.unpacked(parsed, file) as member:
                    yield member
            else:
                if parsed.offset + parsed.length > file.seek(0, 2):
                    raise Unreadable("cut: the archive ends inside of it")
                window = Window(file, start=parsed.offset, length=parsed.length)
                yield cast(BinaryIO, io.BufferedReader(window))

    @contextmanager
    def unpacked(self, parsed: Uri, file: BinaryIO) -> Iterator[BinaryIO]:
        """A member of a compressed tar, which is open as `file`. The next one of the same tar goes on from there."""
        stamp = os.fstat(file.fileno()).st_mtime_ns
        if self.archive is None or self.archive[:2] != (parsed.path, stamp):
            self.archive = (parsed.path, stamp, GzipStream(file))
        stream = self.archive[2]
        stream.file = file
        stream.seek(parsed.offset)
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as whole:
            left = parsed.length
            while left and (piece := stream.read(min(left, 1 << 20))):
                with named(Path(tempfile.gettempdir())):
                    whole.write(piece)
                left -= len(piece)
            if left:
                raise Unreadable("cut: the archive ends inside of it")
            whole.seek(0)
            yield cast(BinaryIO, whole)


def plain(path: Path) -> None:
    """Raises: Unreadable where `path` is no plain file: opening a pipe or a device could wait for ever."""
    try:
        kind = path.stat().st_mode
    except OSError as error:
        raise Unreadable((error.strerror or str(error)).lower()) from None
    except ValueError:
        raise Unreadable("there is a NUL in its name") from None
    if not stat.S_ISREG(kind):
        raise Unreadable("it is a folder" if stat.S_ISDIR(kind) else "it is a pipe or a device, not a file")


def packed(file: BinaryIO) -> bool:
    """Is it gzip? Its position is the start again."""
    head = file.read(2)
    file.seek(0)
    return head == b"\x1f\x8b"
