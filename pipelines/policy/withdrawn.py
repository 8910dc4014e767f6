"""Which segments were taken down: tombstones, looked up by the rows of a table."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.policy.tombstones import COLUMNS, Tombstone

NEEDED = ("key", "recording", "recording_sha256", "given_speaker", "speaker", "source", "start_sample", "end_sample",
          "rate_hz")  # fmt: skip
"""Columns that tombstones look at; `pcm_sha256`, too, where it was measured."""
SPANNED = ["recording_sha256", "start_sample", "end_sample", "rate_hz"]
"""Of them, those that place a segment in its recording."""


@dataclass
class Withdrawn:
    """Tombstones made ready to be looked up, for one corpus."""

    tombstones: Sequence[Tombstone]
    corpus: str
    """Name of the corpus."""
    _of: dict[str, dict[str, int]] = field(init=False, default_factory=lambda: defaultdict(dict))
    _spans: dict[str, list[tuple[float, float, int]]] = field(init=False, default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for number, item in enumerate(self.tombstones):
            for sha, start, end in item.spans:
                self._spans[sha].append((start, end, number))
            if item.corpus in (None, self.corpus):
                for column in COLUMNS[item.field]:
                    for value in item.values:
                        self._of[column].setdefault(value, number)

    def __bool__(self) -> bool:
        return bool(self.tombstones)

    def words(self) -> set[str]:
        """Of the row of a segment that was taken down, one column at least is one of these."""
        return {*self._spans, *(value for known in self._of.values() for value in known)}

    def of(self, row: Mapping[str, Any]) -> Tombstone | None:
        """The tombstone of a segment's row; None where nobody took it down."""
        for column, known in self._of.items():
            number = known.get(row.get(column) or "")
            if number is not None:
                return self.tombstones[number]
        spans = self._spans.get(str(row.get("recording_sha256")))
        if not spans or not row.get("rate_hz"):
            return None
        number = first_overlap(spans, row["start_sample"] / row["rate_hz"], row["end_sample"] / row["rate_hz"])
        return self.tombstones[number] if number >= 0 else None

    def numbers(self, table: Any) -> NDArray[np.int64]:
        """For each row of a pyarrow.Table with NEEDED columns, the number of its tombstone; -1 for none."""
        import pyarrow
        from pyarrow import compute

        found = np.full(table.num_rows, -1, dtype=np.int64)
        for column, known in self._of.items():
            if column in table.column_names:
                values = table[column].cast(pyarrow.large_string())
                at = compute.index_in(values, value_set=pyarrow.array(list(known), pyarrow.large_string()))
                place = np.asarray(compute.fill_null(at, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
                owner = np.array(list(known.values()), dtype=np.int64)
                found = np.where((found < 0) & (place >= 0), owner[place], found)
        if self._spans:
            shas = pyarrow.array(list(self._spans), pyarrow.large_string())
            hashes = table["recording_sha256"].cast(pyarrow.large_string())
            touched = compute.is_in(hashes, value_set=shas).to_numpy(zero_copy_only=False)
            rows = np.flatnonzero(np.asarray(touched) & (found < 0))
            for row, facts in zip(rows, table.select(SPANNED).take(rows).to_pylist(), strict=True):
                if facts["rate_hz"]:
                    start, end = (facts[name] / facts["rate_hz"] for name in ("start_sample", "end_sample"))
                    found[row] = first_overlap(self._spans[facts["recording_sha256"]], start, end)
        return found


def first_overlap(spans: Iterable[tuple[float, float, int]], start: float, end: float) -> int:
    """Number of the first span that the interval overlaps, or -1; a shared border is no overlap."""
    return next((number for low, high, number in spans if start < high - 1e-6 and low < end - 1e-6), -1)
