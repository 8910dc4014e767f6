"""Of recordings with the same bytes, some with a transcript and some without: which segments have one elsewhere."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from pipelines.hashes import Hash, Hashes, inside
from pipelines.manifest import CorpusManifest
from pipelines.policy.select import judge
from pipelines.row import segment_of

Row = Mapping[str, Any]
Span = tuple[str, int, int]
"""A recording, and an interval of it in samples."""
Withheld = Callable[[Row], Any]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Told:
    """What says of a segment without a transcript whether the same sound is kept with one, under another name."""

    spans: Mapping[str, Sequence[Span]]
    """Hash of a recording -> its intervals that are kept with a transcript."""

    def __call__(self, row: Row) -> bool:
        found = self.spans.get(row["recording_sha256"], ()) if row["given_text"] is None else ()
        return any(
            name != row["recording"] and start < row["end_sample"] and row["start_sample"] < end
            for name, start, end in found
        )


def told_elsewhere(
    each: Callable[[Callable[[Sequence[Row]], Any]], Iterator[Any]], manifest: CorpusManifest, *, withheld: Withheld
) -> Told:
    """`each` gives what a function returns of all segments that may be kept, some at a time, in order; they are gone
    over twice, where some bytes came both ways.

    A transcript also decides how a recording is cut, so that keys may differ: intervals are compared.
    """
    bare, told = Hashes(), Hashes()
    for without, having in each(ways_of):
        bare.add(without)
        told.add(having)
    both, spans = bare.both(told), dict[str, list[Span]]()
    find = partial(spans_of, both=both, manifest=manifest, withheld=withheld)
    for found in each(find) if len(both) else ():
        for sha, span in found:
            spans.setdefault(sha, []).append(span)
    return Told(spans)


def ways_of(rows: Sequence[Row]) -> tuple[Hash, Hash]:
    """Hashes of the recordings that came without a transcript, and of those with one."""
    given = np.array([row["given_text"] is not None for row in rows], dtype=np.bool_)
    hashes = np.fromiter((hash_of(row) for row in rows), dtype=np.int64)
    return np.unique(hashes[~given]), np.unique(hashes[given])


def spans_of(
    rows: Sequence[Row], *, both: Hash, manifest: CorpusManifest, withheld: Withheld
) -> list[tuple[str, Span]]:
    """Of recordings that came both ways, what is kept with a transcript."""
    told = [row for row in rows if row["given_text"] is not None]
    found = inside(both, np.fromiter((hash_of(row) for row in told), dtype=np.int64))
    return [
        (row["recording_sha256"], (row["recording"], row["start_sample"], row["end_sample"]))
        for row, is_in in zip(told, found.tolist(), strict=True)
        if is_in and withheld(row) is None and judge(segment_of(row), manifest).tier is not None
    ]


def hash_of(row: Row) -> int:
    """60 bits of the hash of a recording."""
    return int(row["recording_sha256"][:15], 16)
