"""Intervals that a build finds under a name that was taken down: noted, so that no other corpus takes them.

A takedown names a speaker, say, and lists the intervals that were known of them. Recordings that come later have more.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.policy.takedown import corpora_in, hidden_among, span_of
from pipelines.policy.tombstones import FILE, LOCAL, TAKEDOWN, Span, Tombstone, append, merged, store_list
from pipelines.policy.withdrawn import Withdrawn


@dataclass
class NewIntervals:
    """Those of the segments of one corpus that have the speaker or the recording of one of its tombstones."""

    tombstones: Iterable[Tombstone]
    corpus: str
    """Name of the corpus: another one may give the same name to somebody else."""
    _names: Withdrawn = field(init=False)
    _spans: dict[Tombstone, list[Span]] = field(init=False, default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        local = (item for item in self.tombstones if item.field in LOCAL and item.reason == TAKEDOWN)
        self._names = Withdrawn([replace(item, spans=()) for item in local], self.corpus)

    def add(self, row: Mapping[str, Any]) -> None:
        """A row of a segment, before anything of it is left out."""
        tombstone = self._names.of(row) if self._names else None
        if tombstone is not None:
            self._spans[tombstone].append(span_of(row, field=tombstone.field))

    def note(self, store: Path) -> int:
        """Write down what was not known yet, for the store and beside those of its corpora that have it. How many."""
        count = 0
        for tombstone, spans in self._spans.items():
            made = replace(tombstone, spans=merged(spans))
            if append(store_list(store), [made]):
                count += 1
                for place in hidden_among(corpora_in(store), made):
                    append(place.root / FILE, [made])
        return count
