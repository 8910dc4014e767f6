"""Of recordings with the same bytes, some with a transcript and some without: which segments have one elsewhere."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np

from pipelines.hashes import Hashes
from pipelines.manifest import CorpusManifest
from pipelines.policy.select import judge
from pipelines.row import segment_of

Row = Mapping[str, Any]
BATCH = 8192


def told_elsewhere(
    rows: Callable[[], Iterable[Row]], manifest: CorpusManifest, *, withheld: Callable[[Row], Any]
) -> Callable[[Row], bool]:
    """What says of a segment without a transcript whether the same sound is kept with one, under another name.

    `rows` gives all segments that may be kept, each time anew: they are read twice, where some bytes came both ways.
    A transcript also decides how a recording is cut, so that keys may differ: intervals are compared.
    """
    both = came_both_ways(rows())
    spans: dict[str, list[tuple[str, int, int]]] = {}
    for row in rows() if both else ():
        if row["given_text"] is None or hash_of(row) not in both or withheld(row) is not None:
            continue
        if judge(segment_of(dict(row)), manifest).tier is not None:
            span = (row["recording"], row["start_sample"], row["end_sample"])
            spans.setdefault(row["recording_sha256"], []).append(span)

    def told(row: Row) -> bool:
        found = spans.get(row["recording_sha256"], ()) if row["given_text"] is None else ()
        return any(
            name != row["recording"] and start < row["end_sample"] and row["start_sample"] < end
            for name, start, end in found
        )

    return told


def came_both_ways(rows: Iterable[Row]) -> set[int]:
    """Hashes of the recordings that came with a transcript and without one."""
    ways, waiting = (Hashes(), Hashes()), iter(rows)
    while batch := list(islice(waiting, BATCH)):
        for way, hashes in enumerate(ways):
            found = (hash_of(row) for row in batch if (row["given_text"] is not None) == bool(way))
            hashes.add(np.fromiter(found, dtype=np.int64))
    return set(ways[0].both(ways[1]).tolist())


def hash_of(row: Row) -> int:
    """60 bits of the hash of a recording."""
    return int(row["recording_sha256"][:15], 16)
