"""A tar of regular files, ustar: written so that nothing in it depends on who writes it or when, and read in memory."""

import hashlib
import tarfile
from collections.abc import Iterator
from typing import IO

BLOCK = tarfile.BLOCKSIZE
END = b"\0" * 2 * BLOCK
"""What a tar ends with."""


class Tar:
    """A tar as it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        """Of what was written."""
        self.at = 0
        """Bytes that were written."""

    def put(self, name: str, data: bytes) -> int:
        """Add a file. Returns where its content begins."""
        self._write(header(name, len(data)))
        start = self.at
        self._write(data)
        self._write(b"\0" * (-len(data) % BLOCK))
        return start

    def end(self) -> None:
        """Nothing comes any more."""
        self._write(END)

    def _write(self, data: bytes) -> None:
        self.sha256.update(data)
        self.file.write(data)
        self.at += len(data)


def header(name: str, size: int) -> bytes:
    """The block before a file of `size` bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, 0
    return member.tobuf(format=tarfile.USTAR_FORMAT, encoding="utf-8", errors="strict")


def padded(size: int) -> int:
    """Bytes that a file of `size` bytes takes: its header, and its content up to a whole block."""
    return BLOCK + -(-size // BLOCK) * BLOCK


def members_in(block: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Name and content of every file in whole members of a tar; ends at its end, and nothing is ever unpacked.

    Raises: ValueError where it is not a plain tar of regular files.
    """
    at = 0
    while at + BLOCK <= len(block) and block[at] != 0:
        head = bytes(block[at : at + BLOCK])
        size = int(head[124:135], 8)
        plain = head[156:157] == b"0" and head[257:262] == b"ustar" and not head[345]
        if not plain or not 0 <= size <= len(block) - at - BLOCK:
            raise ValueError("not a member")
        yield head[:100].rstrip(b"\0").decode("ascii"), block[at + BLOCK : at + BLOCK + size]
        at += padded(size)
