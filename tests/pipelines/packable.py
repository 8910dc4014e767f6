"""Samples to be packed, and ledgers to be written, that are all in memory: what a build reads from files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.ledger import ledger_table, ledger_writer
from pipelines.packing.members import record_of


@dataclass(frozen=True)
class Item:
    """A sample to be packed whose row is in memory; see `pipelines.packing.cutting.Packable`."""

    row: Mapping[str, Any]
    tier: str
    file: Path
    offset: int
    flac_bytes: int
    arrays: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return str(self.row["key"])

    @property
    def record_bytes(self) -> int:
        return len(record_of(self.row, tier=self.tier))


def write_ledger(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """`ledger.parquet`, of rows that are all there."""
    with ledger_writer(path) as put:
        put(ledger_table(list(rows)))
