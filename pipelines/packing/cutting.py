"""Which samples go together: in order of their keys, into shards of about one size."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pipelines.packing.layout import HARD_BYTES, CorpusError
from pipelines.packing.members import SPK
from pipelines.packing.tar import END, padded

XVECTOR_BYTES = 128 + 4 * 512
"""Of its file, at 512 numbers: near enough to plan with."""


class Packable(Protocol):
    """A sample to be packed: what it is called, how large it is, and where its row and its sound are to be had."""

    @property
    def key(self) -> str: ...
    @property
    def tier(self) -> str: ...
    @property
    def file(self) -> Path:
        """Where the bytes of its FLAC lie now, with `offset` and `flac_bytes`."""

    @property
    def offset(self) -> int: ...
    @property
    def flac_bytes(self) -> int: ...
    @property
    def record_bytes(self) -> int:
        """Length of its record, `pipelines.packing.members.record_of`, known without reading the row."""

    @property
    def row(self) -> Mapping[str, Any]:
        """All fields of its segment; may be read from a file each time."""

    @property
    def arrays(self) -> Mapping[str, tuple[int, int]]:
        """Name -> where the bytes of its .npy lie in `file`: offset and length."""


def plan(items: Iterable[Packable], *, soft_bytes: int, members: Sequence[str] = ()) -> list[list[Packable]]:
    """The items, in any order, in shards of about `soft_bytes`; see `cut`."""
    return list(cut(sorted(items, key=lambda item: item.key), soft_bytes=soft_bytes, members=members))


def cut(items: Iterable[Packable], *, soft_bytes: int, members: Sequence[str] = ()) -> Iterator[list[Packable]]:
    """Cut the items, which come in order of their keys, into shards of about `soft_bytes`, one after another: a pure
    function of what is packed.

    `members`: arrays that go with the samples, as for `pipelines.packing.writer.write_shard`.

    Raises: CorpusError where a sample does not fit into any shard.
    """
    shard: list[Packable] = []
    filled, room = 0, HARD_BYTES - len(END)
    for item in items:
        size = packed_bytes(item, members=members)
        if size > room:
            raise CorpusError(f"{item.key}: a sample of {size / 2**20:.0f} MiB, but a shard may have 1280: cut it")
        if shard and filled + size > min(soft_bytes, room):
            yield shard
            shard, filled = [], 0
        shard.append(item)
        filled += size
    if shard:
        yield shard


def packed_bytes(item: Packable, *, members: Sequence[str]) -> int:
    """What a sample takes of its shard, near enough: every sample is taken to have an x-vector."""
    files = [item.flac_bytes, item.record_bytes, *(size for name, (_, size) in item.arrays.items() if name in members)]
    return sum(map(padded, [*files, XVECTOR_BYTES] if SPK in members else files))
