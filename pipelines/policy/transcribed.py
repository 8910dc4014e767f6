"""Of recordings with the same bytes, some with a transcript and some without: which segments have one elsewhere."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipelines.manifest import CorpusManifest
from pipelines.policy.select import judge
from pipelines.row import segment_of

Row = Mapping[str, Any]


def told_elsewhere(
    rows: Callable[[], Iterable[Row]], manifest: CorpusManifest, *, withheld: Callable[[Row], Any]
) -> Callable[[Row], bool]:
    """What says of a segment without a transcript whether the same sound is kept with one, under another name.

    `rows` gives all segments that may be kept, each time anew: they are read twice, where some bytes came both ways.
    A transcript also decides how a recording is cut, so that keys may differ: intervals are compared.
    """
    ways: tuple[set[str], set[str]] = set(), set()
    for row in rows():
        ways[row["given_text"] is not None].add(row["recording_sha256"])
    both = ways[0] & ways[1]
    spans: dict[str, list[tuple[str, int, int]]] = {}
    for row in rows() if both else ():
        if row["recording_sha256"] not in both or row["given_text"] is None or withheld(row) is not None:
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
