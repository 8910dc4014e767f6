"""Samples, ledgers and a toy corpus out of what is in memory: a build reads it from files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.ledger import ledger_table, ledger_writer
from pipelines.packing.cutting import plan
from pipelines.packing.finish import finish
from pipelines.packing.members import flac_of, record_of
from pipelines.packing.writer import write_shard
from pipelines.row import Segment, as_row, segment_key

SHARD = "shards/pack-0000/shard-000000.tar"
"""The first shard of a corpus."""


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


def segment(number: int, *, samples: int = 16000, rate_hz: int = 16000) -> Segment:
    """Segment `number` of the toy corpus."""
    sha = f"{number:064x}"
    return Segment(
        key=segment_key(sha, start_sample=0, end_sample=samples),
        corpus="toy",
        recording=f"r{number}.wav",
        recording_sha256=sha,
        license="CC0",
        source="made here",
        start_sample=0,
        end_sample=samples,
        rate_hz=rate_hz,
        channels=1,
        seconds=samples / rate_hz,
        text="na\u00efve words",
        xvector=(0.1, 0.2),
    )


def items(folder: Path, count: int) -> list[Item]:
    """Samples of a second of noise at 16 kHz, with their FLACs in the folder."""
    made = []
    for number in range(count):
        wave_S = np.random.default_rng(number).uniform(-0.5, 0.5, 16000).astype(np.float32)
        flac = flac_of(wave_S, rate_hz=16000)
        file = folder / f"{number}.flac"
        file.write_bytes(flac)
        made.append(Item(row=as_row(segment(number)), tier="all", file=file, offset=0, flac_bytes=len(flac)))
    return made


def build(root: Path, made: list[Item], *, soft_bytes: int = 120_000) -> str:
    """A corpus of these samples in `root`, three to a shard; its digest."""
    shards = [write_shard(root, number, part) for number, part in enumerate(plan(made, soft_bytes=soft_bytes))]
    return finish(root, name="toy", shards=shards, facts={})


def files(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
