"""What a new ledger tells of what was taken down: that it was, how long it is, and its hash; no name, word or score."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.ledger import read_ledger
from pipelines.packing.parts import segment_columns
from pipelines.policy.tombstones import NEEDED, TAKEDOWN, Tombstone, Withdrawn, tombstones_of
from pipelines.shards import CorpusError, read_card

SPARED = ("key", "corpus", "recording_sha256", "license", "language", "given_language", "seconds")
"""What a ledger goes on telling of a segment that was taken down, beside what became of it."""
GONE = "(taken down)"
"""What its recording and its source are called."""

Row = Mapping[str, Any]


@dataclass
class Sparing:
    """The tombstones of what was taken down (not of copies), for the rows of one corpus."""

    tombstones: Iterable[Tombstone]
    corpus: str
    """Name of the corpus."""
    withdrawn: Withdrawn = field(init=False)

    def __post_init__(self) -> None:
        self.withdrawn = Withdrawn([item for item in self.tombstones if item.reason == TAKEDOWN], self.corpus)

    def stone_of(self, row: Row) -> Tombstone | None:
        """The tombstone of a row; None where nobody took it down, and where it is spared already."""
        return self.withdrawn.of(row) if self.withdrawn and row["recording"] != GONE else None

    def recordings_gone(self, rows: Iterable[Row]) -> set[str]:
        """Recordings of which every segment was taken down."""
        gone, left = set[str](), set[str]()
        for row in rows if self.withdrawn else ():
            if row["key"] is not None:
                (gone if self.stone_of(row) else left).add(row["recording"])
        return gone - left

    def spared(self, row: Row, *, gone: Set[str] = frozenset()) -> Row:
        """The row of the ledger as it may be written: itself, where nothing of it was taken down.

        `gone` are recordings of which nothing is left: what is told of the rest of them does not name them either.
        """
        stone = self.stone_of(row)
        nameless = {"recording": GONE, "source": GONE}
        if row["key"] is None:
            hidden = stone is not None or row["recording"] in gone
            return {**row, **nameless, "given_speaker": None, "reason": row["reasons"][0]} if hidden else row
        if stone is None:
            return row
        unsaid = {name: None for name, _ in segment_columns() if name not in SPARED}
        fate = {"status": "dropped", "tier": None, "transform": "select", "reasons": [stone.reason]}
        return {**row, **unsaid, **nameless, **fate, "reason": f"{stone.reason}: {stone.told}"}


def sparing_of(root: Path) -> Sparing:
    """That of the corpus in `root`."""
    return Sparing(tombstones_of(root), str(read_card(root)["name"]))


def taken_down(table: Any, sparing: Sparing) -> NDArray[np.bool_]:
    """Rows of a ledger (a pyarrow.Table with NEEDED columns) that tell of what was taken down more than may be told."""
    from pyarrow import compute

    named = compute.fill_null(compute.not_equal(table["recording"], GONE), True).to_numpy(zero_copy_only=False)
    return np.asarray(np.asarray(named, dtype=bool) & (sparing.withdrawn.numbers(table) >= 0))


def needed_of(root: Path) -> Any:
    """The columns of the ledger of the corpus in `root` that tombstones look at.

    Raises: CorpusError
    """
    import pyarrow
    from pyarrow import parquet

    path = root / "ledger.parquet"
    try:
        stored = parquet.read_schema(path).names
        return parquet.read_table(path, columns=[name for name in (*NEEDED, "pcm_sha256") if name in stored])
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise CorpusError(f"{path}: cannot be read ({error})") from None


def recordings_gone_in(root: Path, sparing: Sparing) -> set[str]:
    """Recordings of a finished corpus of which every segment was taken down."""
    if not sparing.withdrawn:
        return set()
    table = needed_of(root)
    table = table.filter(table["key"].is_valid())
    hit = taken_down(table, sparing)
    gone, left = (set(table["recording"].filter(rows).unique().to_pylist()) for rows in (hit, ~hit))
    return gone - left


def told_of_in(root: Path) -> int:
    """Rows of the ledger of the corpus in `root` that still tell of what was taken down; 0 where it has no ledger."""
    sparing = sparing_of(root)
    if not sparing.withdrawn or not (root / "ledger.parquet").is_file():
        return 0
    return int(taken_down(needed_of(root), sparing).sum())


def spared_rows(root: Path) -> list[Row]:
    """The ledger of the corpus in `root`, as a new one would tell it.

    Raises: CorpusError
    """
    sparing = sparing_of(root)
    gone = recordings_gone_in(root, sparing)
    return [sparing.spared(row, gone=gone) for row in read_ledger(root)]
