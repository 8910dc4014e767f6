"""Redaction: of what was taken down, a new ledger tells that it was, how long it is, and its hash, and no more."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.ledger import ledger_tables, read_ledger
from pipelines.packing.parts import segment_columns
from pipelines.policy.tombstones import TAKEDOWN, Tombstone, tombstones_of
from pipelines.policy.withdrawn import NEEDED, Withdrawn
from pipelines.shards import read_card

UNREDACTED = ("key", "corpus", "recording_sha256", "license", "language", "given_language", "seconds")
"""What a ledger goes on telling of a segment that was taken down, beside what became of it."""
REDACTED = "(taken down)"
"""What its recording and its source are called."""

Row = Mapping[str, Any]


@dataclass
class Redactor:
    """Takes out of the rows of one corpus what was taken down of it (copies that were hidden stay as they are)."""

    tombstones: Iterable[Tombstone]
    corpus: str
    """Name of the corpus."""
    withdrawn: Withdrawn = field(init=False)

    def __post_init__(self) -> None:
        self.withdrawn = Withdrawn([item for item in self.tombstones if item.reason == TAKEDOWN], self.corpus)

    def tombstone_of(self, row: Row) -> Tombstone | None:
        """The tombstone of a row; None where nobody took it down, and where it is redacted already."""
        return self.withdrawn.of(row) if self.withdrawn and row["recording"] != REDACTED else None

    def recordings_taken_down(self, rows: Iterable[Row]) -> set[str]:
        """Recordings of which every segment was taken down."""
        gone, left = set[str](), set[str]()
        for row in rows if self.withdrawn else ():
            if row["key"] is not None:
                (gone if self.tombstone_of(row) else left).add(row["recording"])
        return gone - left

    def redacted(self, row: Row, *, gone: Set[str] = frozenset()) -> Row:
        """The row of the ledger as it may be written: itself, where nothing of it was taken down.

        `gone` are recordings of which nothing is left: what is told of the rest of them does not name them either.
        """
        tombstone = self.tombstone_of(row)
        nameless = {"recording": REDACTED, "source": REDACTED}
        if row["key"] is None:
            hidden = tombstone is not None or row["recording"] in gone
            return {**row, **nameless, "given_speaker": None, "reason": row["reasons"][0]} if hidden else row
        if tombstone is None:
            return row
        unsaid = {name: None for name, _ in segment_columns() if name not in UNREDACTED}
        fate = {"status": "dropped", "tier": None, "transform": "select", "reasons": [tombstone.reason]}
        return {**row, **unsaid, **nameless, **fate, "reason": f"{tombstone.reason}: {tombstone.told}"}


def redactor_of(root: Path) -> Redactor:
    """For the corpus in `root`."""
    return Redactor(tombstones_of(root), str(read_card(root)["name"]))


def unredacted(table: Any, redactor: Redactor) -> NDArray[np.bool_]:
    """Rows of a ledger (a pyarrow.Table with NEEDED columns) that tell of what was taken down more than may be told."""
    from pyarrow import compute

    named = compute.fill_null(compute.not_equal(table["recording"], REDACTED), True).to_numpy(zero_copy_only=False)
    return np.asarray(np.asarray(named, dtype=bool) & (redactor.withdrawn.numbers(table) >= 0))


def tombstone_tables(root: Path, *more: str) -> Iterator[Any]:
    """What tombstones look at in the ledger of the corpus in `root`, and other columns where they are asked for: some
    rows at a time, as pyarrow.Tables.

    Raises: CorpusError
    """
    return ledger_tables(root, *NEEDED, "pcm_sha256", *more)


def named_in(root: Path, withdrawn: Withdrawn, *more: str) -> Any:
    """The rows of the ledger of the corpus in `root` that tombstones name, as a pyarrow.Table like `tombstone_tables`.

    Raises: CorpusError
    """
    import pyarrow

    return pyarrow.concat_tables(table.filter(withdrawn.numbers(table) >= 0) for table in tombstone_tables(root, *more))


def recordings_taken_down_in(root: Path, redactor: Redactor) -> set[str]:
    """Recordings of a finished corpus of which every segment was taken down."""
    if not redactor.withdrawn:
        return set()
    gone = set[str]()
    for table, hit in segments_hit(root, redactor):
        gone.update(table["recording"].filter(hit).unique().to_pylist())
    left = set[str]()
    for table, hit in segments_hit(root, redactor) if gone else ():
        left.update(gone.intersection(table["recording"].filter(~hit).unique().to_pylist()))
    return gone - left


def segments_hit(root: Path, redactor: Redactor) -> Iterator[tuple[Any, NDArray[np.bool_]]]:
    """The segments of a ledger, some at a time, and which of them tell of what was taken down."""
    for table in tombstone_tables(root):
        segments = table.filter(table["key"].is_valid())
        yield segments, unredacted(segments, redactor)


def count_unredacted(root: Path) -> int:
    """Rows of the ledger of the corpus in `root` that still tell of what was taken down; 0 where it has no ledger."""
    redactor = redactor_of(root)
    if not redactor.withdrawn or not (root / "ledger.parquet").is_file():
        return 0
    return sum(int(unredacted(table, redactor).sum()) for table in tombstone_tables(root))


def redacted_rows(root: Path) -> list[Row]:
    """The ledger of the corpus in `root`, as a new one would tell it.

    Raises: CorpusError
    """
    redactor = redactor_of(root)
    gone = recordings_taken_down_in(root, redactor)
    return [redactor.redacted(row, gone=gone) for row in read_ledger(root)]
