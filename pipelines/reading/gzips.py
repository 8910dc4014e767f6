"""A gzip file as a stream that can seek: it is decompressed once, and goes back to states that it kept on the way."""

import io
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

from infra.storage import Seekable

CHUNK = 1 << 16
KEPT_STATES = 256
"""States of the decompressor that are kept, about 40 kB each; where there are more, every second one is let go."""
FIRST_SPACING = 1 << 22
"""Decompressed bytes between two states, at first."""
BOMB_BYTES = 1 << 26
BOMB_RATIO = 200
"""More than so many bytes out of one, after the first BOMB_BYTES, are a bomb: recordings shrink to a half at best."""


class BadGzip(OSError):  # noqa: N818 - it is the file that is bad
    """It cannot be decompressed. The message is the reason."""


@dataclass
class State:
    """Where a decompressor is, and the decompressor."""

    out: int
    into: int
    """Position in the file of the first byte that has not been given to it."""
    inflate: Any


class GzipStream(Seekable):
    """The decompressed bytes of `file`, of one gzip member or of several in a row."""

    forward = True
    """Its length is not known before it has been read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.states: list[State] = []
        self.spacing = FIRST_SPACING
        self.ended = False
        self.now = State(0, 0, zlib.decompressobj(wbits=31))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """To `offset` from the start (or from here); from the end, nothing is known.

        Raises: OSError
        """
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the length of a gzip stream is not known before it has been read")
        self.at = offset + (self.at if whence == io.SEEK_CUR else 0)
        return self.at

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; fewer at the end alone.

        Raises: BadGzip
        """
        self.go_to(self.at)
        parts: list[bytes] = []
        left = size if size >= 0 else 1 << 62
        while left and (piece := self.inflated(min(left, CHUNK))):
            parts.append(piece)
            left -= len(piece)
        data = b"".join(parts)
        self.at += len(data)
        return data

    def go_to(self, offset: int) -> None:
        """Bring the decompressor to `offset`, or to the end if that comes first."""
        if offset < self.now.out:
            before = [state for state in self.states if state.out <= offset]
            start = before[-1] if before else State(0, 0, zlib.decompressobj(wbits=31))
            self.now = State(start.out, start.into, start.inflate.copy())
            self.ended = False
        while self.now.out < offset and self.inflated(min(offset - self.now.out, CHUNK)):
            pass

    def inflated(self, most: int) -> bytes:
        """Up to `most` further bytes; none at the end."""
        now = self.now
        while not self.ended:
            if now.inflate.eof:
                self.next_member()
                continue
            given = now.inflate.unconsumed_tail
            if not given:
                self.file.seek(now.into)
                given = self.file.read(CHUNK)
                now.into += len(given)
            try:
                piece: bytes = now.inflate.decompress(given, most)
            except zlib.error as error:
                raise BadGzip(f"damaged: the gzip stream makes no sense after {now.out} bytes ({error})") from None
            if not given and not piece and not now.inflate.eof:
                raise BadGzip(f"cut: the gzip stream stops after {now.out} bytes, without its end")
            if piece:
                now.out += len(piece)
                if now.out > BOMB_BYTES and now.out > BOMB_RATIO * now.into:
                    raise BadGzip(f"bomb: {now.into} bytes of gzip have become more than {now.out}")
                self.keep()
                return piece
        return b""

    def next_member(self) -> None:
        """Go on with the gzip member that follows, if one does."""
        now = self.now
        rest = now.inflate.unused_data
        if not rest:
            self.file.seek(now.into)
            rest = self.file.read(CHUNK)
            now.into += len(rest)
        if not rest.lstrip(b"\0").startswith(b"\x1f"):
            self.ended = True
            return
        now.into -= len(rest.lstrip(b"\0"))
        now.inflate = zlib.decompressobj(wbits=31)

    def keep(self) -> None:
        """Keep this state where the last one that was kept is far enough behind."""
        last = self.states[-1].out if self.states else 0
        if self.now.out < last + self.spacing:
            return
        self.states.append(State(self.now.out, self.now.into, self.now.inflate.copy()))
        if len(self.states) > KEPT_STATES:
            self.states = self.states[1::2]
            self.spacing *= 2
