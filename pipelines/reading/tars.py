"""What lies in a tar, and where: headers alone are read, nothing is unpacked, and no header can ask for much memory.

POSIX ustar, pax and GNU long names. Links, devices and sparse files are told with the reason why they are not read.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
LONGEST_EXTENSION = 1 << 20
"""Bytes of pax records and long names before one member: more is an attack, not a name."""
MOST_EXTENSIONS = 16
MOST_ZEROS = 1 << 20
"""Bytes of zeros after which an archive is over, even if more follows."""
KINDS = {
    tarfile.LNKTYPE: "a hard link", tarfile.SYMTYPE: "a symbolic link", tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe", tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.CONTTYPE: "a contiguous file",
}  # fmt: skip
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
              tarfile.GNUTYPE_LONGLINK)  # fmt: skip


class Damaged(Exception):  # noqa: N818 - reads as what the archive is
    """The rest of an archive cannot be read. The message is the reason."""


@dataclass(frozen=True)
class Member:
    """A file in a tar: `size` bytes from `offset` on; or something else under that name, and what it is."""

    name: str
    offset: int
    size: int
    refused: str | None = None


def entries(stream: BinaryIO) -> Iterator[Member]:
    """Every member but folders, in order. `stream` can seek and read; between two entries its position is free.

    Raises: Damaged where a header makes no sense, or the archive ends inside of a member.
    """
    total = stream.seek(0, 2) if not getattr(stream, "forward", False) else None
    if total == 0:
        raise Damaged("empty: no bytes in it")
    at = zeros = found = 0
    while True:
        block = read_at(stream, at, BLOCK)
        if not block or zeros > MOST_ZEROS:
            return
        if not block.strip(b"\0"):
            at, zeros = at + len(block), zeros + len(block)
            continue
        if len(block) < BLOCK:
            raise Damaged(f"cut: it ends inside of a header, after {found} members")
        zeros = 0
        at, header, names = one_header(stream, at, block, found)
        entry = Member(names.get("path", header.name), at, int(names.get("size", header.size)), refused(header, names))
        if entry.size < 0:
            raise Damaged(f"damaged: member {found} says that it has {entry.size} bytes")
        found += 1
        if header.type == tarfile.DIRTYPE:
            continue
        at += padded(entry.size) if header.type in (*FILES, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE) else 0
        if entry.size and header.type in FILES and not whole(stream, entry, total):
            yield Member(entry.name, entry.offset, entry.size, "cut: the archive ends inside of it")
            raise Damaged(f"cut: it ends inside of member {found - 1}")
        yield entry


def one_header(stream: BinaryIO, at: int, block: bytes, found: int) -> tuple[int, tarfile.TarInfo, dict[str, str]]:
    """The header of the next member: where its bytes begin, the header, and what extensions before it say instead."""
    names: dict[str, str] = {}
    spent = 0
    for _ in range(MOST_EXTENSIONS):
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            what = "not a tar" if not found and not names else f"damaged: no header after member {found - 1}"
            raise Damaged(f"{what} ({error})") from None
        at += BLOCK
        if header.type == tarfile.GNUTYPE_SPARSE:
            more = block[482]
            while more:
                block = read_at(stream, at, BLOCK)
                if len(block) < BLOCK:
                    raise Damaged("cut: it ends inside of the map of a sparse file")
                more = block[504]
                at += BLOCK
        if header.type not in EXTENSIONS:
            return at, header, names
        spent += header.size
        if not 0 <= header.size <= LONGEST_EXTENSION or spent > LONGEST_EXTENSION:
            raise Damaged(f"bomb: the name of member {found} takes {header.size} bytes")
        data = read_at(stream, at, header.size)
        if len(data) < header.size:
            raise Damaged(f"cut: it ends inside of the name of member {found}")
        at += padded(header.size)
        if header.type == tarfile.GNUTYPE_LONGNAME:
            names["path"] = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            names |= pax_records(data, found)
        block = read_at(stream, at, BLOCK)
        if len(block) < BLOCK:
            raise Damaged(f"cut: it ends before the header of member {found}")
    raise Damaged(f"bomb: member {found} has more than {MOST_EXTENSIONS} headers")


def pax_records(data: bytes, found: int) -> dict[str, str]:
    """`length key=value` lines, one after another, as in POSIX.1-2001."""
    records: dict[str, str] = {}
    at = 0
    while at < len(data) and data[at : at + 1] != b"\0":
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() and len(digits) < 10 else 0
        key, equals, value = data[space + 1 : at + length - 1].partition(b"=")
        if not equals or length < 5 or at + length > len(data):
            raise Damaged(f"damaged: the pax header of member {found} makes no sense")
        records[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        at += length
    size = records.get("size", "0")
    if not size.isdecimal() or len(size) > 19:
        raise Damaged(f"damaged: member {found} says that it has {size[:20]!r} bytes")
    return records


def refused(header: tarfile.TarInfo, names: dict[str, str]) -> str | None:
    """Why a member is not read; None for plain files (and folders, which are left out elsewhere)."""
    if any(key.startswith("GNU.sparse") for key in names):
        return "link: it is a sparse file, which no recording is"
    if header.type in FILES or header.type == tarfile.DIRTYPE:
        return None
    return f"link: it is {KINDS.get(header.type, f'something of type {header.type!r}')}, not a plain file"


def whole(stream: BinaryIO, entry: Member, total: int | None) -> bool:
    """Does the archive go on to the last byte of the member?"""
    end = entry.offset + entry.size
    return end <= total if total is not None else bool(read_at(stream, end - 1, 1))


def read_at(stream: BinaryIO, offset: int, size: int) -> bytes:
    """Up to `size` bytes from `offset` on."""
    stream.seek(offset)
    return stream.read(size)


def padded(size: int) -> int:
    """Size in whole blocks."""
    return -(-size // BLOCK) * BLOCK
