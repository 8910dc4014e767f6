"""Where rows and sounds wait in the work folder until they are packed, and in which order they come out of it."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from infra.storage import named
from pipelines.judging import Row, row_of
from pipelines.ledger import Array, Fate, UnitResult, arrow_table, fate_of, load, result_path, sound_path
from pipelines.packing.members import record_bytes
from pipelines.policy.redaction import REDACTED

FOLDER = "samples"
"""In the work folder, while a corpus is put together."""
PIECE = 65_536
"""Samples that are in memory until they are written; so many, and no more, never are."""
BUCKET_DIGITS = 2
"""Of a key, by which samples are parted: 256 files, of which one is in memory at a time."""


@dataclass(frozen=True, slots=True)
class KeptSample:
    """A sample to be packed: where its row and its sound lie in the files of its unit."""

    key: str
    tier: str
    corpus: str
    rights: Row
    """License and source, as the catalog tells them now."""
    record_bytes: int
    result: Path
    place: tuple[int, int]
    file: Path
    offset: int
    flac_bytes: int
    placed: tuple[Array, ...] = ()

    @property
    def arrays(self) -> dict[str, tuple[int, int]]:
        """Name -> where the bytes of its .npy lie in `file`."""
        return {array.name: (array.offset, array.npy_bytes) for array in self.placed}

    @property
    def row(self) -> Row:
        """All fields of its segment, read from the unit's result."""
        with self.result.open("rb") as file:
            line = os.pread(file.fileno(), self.place[1], self.place[0])
        fate = fate_of(line, place=self.place)
        return row_of(fate, corpus=self.corpus, rights={fate.recording: self.rights})


class StoredLine(NamedTuple):
    """What a KeptSample is made of again, as it waits in a file; the work folder says the rest."""

    key: str
    tier: str
    unit: str
    license: str | None
    source: str | None
    record_bytes: int
    start: int
    """Of the line in the unit's result, like the next; the two after them are of its sound."""
    size: int
    offset: int
    flac_bytes: int
    arrays: str
    """Fields of each Array, as JSON; empty where there is none."""


def line_of(fate: Fate, row: Row, *, unit: str, rights: Row) -> StoredLine:
    """A row that is kept, with the rights that the catalog tells of its recording."""
    size, sound = record_bytes(row, tier=row["tier"]), fate.sounds[-1]
    arrays = json.dumps([astuple(array) for array in fate.arrays]) if fate.arrays else ""
    told = (row["key"], row["tier"], unit, rights.get("license"), rights.get("source"), size)
    return StoredLine(*told, *fate.place, sound.offset, sound.flac_bytes, arrays)


def lines_table(lines: Sequence[StoredLine]) -> Any:
    """As columns of a pyarrow.Table."""
    import pyarrow

    kinds = StoredLine.__annotations__
    schema = pyarrow.schema([(name, pyarrow.int64() if kinds[name] is int else pyarrow.string()) for name in kinds])
    return arrow_table(lines, schema)


class KeptSamples:
    """The samples of a corpus, however many: put in as they come, and taken out in the order of their keys.

    They wait in files by the first digits of their keys, of which one at a time is sorted in memory.
    """

    def __init__(self, work: Path, *, corpus: str, chain: str) -> None:
        self.work, self.corpus, self.chain = work, corpus, chain
        self.folder = work / FOLDER
        shutil.rmtree(self.folder, ignore_errors=True)
        self.count = self.held = 0
        self.waiting: list[Any] = []
        """Tables."""
        self.writers: dict[str, Any] = {}

    def add(self, lines: Any) -> None:
        """Samples that are kept, as a table (`lines_table`).

        Copied: a table out of a task lies among all that the task returned, which Ray keeps for as long as it is held.
        """
        self.waiting.append(lines.take(np.arange(lines.num_rows)))
        self.count += lines.num_rows
        self.held += lines.num_rows
        if self.held >= PIECE:
            self.write()

    def sorted(self) -> Any:
        """What waits in memory, as a table, by key."""
        import pyarrow

        table = pyarrow.concat_tables([lines_table([]), *self.waiting]).sort_by("key").combine_chunks()
        self.waiting.clear()
        self.held = 0
        return table

    def write(self) -> None:
        """What waits in memory, each to the file of its key."""
        import pyarrow
        from pyarrow import compute

        self.folder.mkdir(exist_ok=True)
        table = self.sorted()
        parts = compute.run_end_encode(compute.utf8_slice_codeunits(table["key"], 0, BUCKET_DIGITS).combine_chunks())
        start = 0
        for digits, end in zip(parts.values.to_pylist(), parts.run_ends.to_pylist(), strict=True):
            if digits not in self.writers:
                self.writers[digits] = pyarrow.ipc.new_stream(str(self.folder / f"{digits}.arrow"), table.schema)
            with named(self.folder / f"{digits}.arrow"):
                self.writers[digits].write_table(table.slice(start, end - start))
            start = end

    def __iter__(self) -> Iterator[KeptSample]:
        """In the order of their keys, once; the files are gone at the end."""
        import pyarrow

        if not self.writers:
            yield from self.samples(self.sorted())
            return
        self.write()
        for digits, writer in sorted(self.writers.items()):
            writer.close()
            path = self.folder / f"{digits}.arrow"
            with pyarrow.memory_map(str(path)) as file:
                table = pyarrow.ipc.open_stream(file).read_all().sort_by("key")
            yield from self.samples(table)
            path.unlink()
        shutil.rmtree(self.folder)

    def samples(self, table: Any) -> Iterator[KeptSample]:
        """Of a table, in its order."""
        for batch in table.to_batches(max_chunksize=4096):
            lines = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            yield from (self.sample(StoredLine(*line)) for line in lines)

    def sample(self, line: StoredLine) -> KeptSample:
        """What was put in."""
        return KeptSample(
            key=line.key,
            tier=line.tier,
            corpus=self.corpus,
            rights={} if line.license is None else {"license": line.license, "source": line.source},
            record_bytes=line.record_bytes,
            result=result_path(self.work, unit=line.unit, chain=self.chain),
            place=(line.start, line.size),
            file=sound_path(self.work, unit=line.unit, chain=self.chain),
            offset=line.offset,
            flac_bytes=line.flac_bytes,
            placed=tuple(Array(*facts) for facts in json.loads(line.arrays)) if line.arrays else (),
        )


class UnitSounds:
    """The stored sound of any segment, kept or not, by its row of the ledger: looked for in the result of its unit."""

    def __init__(self, work: Path, *, chain: str) -> None:
        self.work, self.chain = work, chain
        self._result = lru_cache(4)(lambda unit: load(result_path(work, unit=unit, chain=chain)))

    def __call__(self, row: Mapping[str, Any]) -> bytes | None:
        """Its FLAC; None where none was kept, and of what was taken down."""
        return None if row["recording"] == REDACTED else self.of(row["unit"], row["key"])

    def of(self, unit: str, key: str) -> bytes | None:
        """The FLAC of the segment of this key."""
        result: UnitResult = self._result(unit)
        for fate in result.fates:
            if fate.sounds and fate.segment is not None and fate.segment["key"] == key:
                sound = fate.sounds[-1]
                with sound_path(self.work, unit=unit, chain=self.chain).open("rb") as file:
                    return os.pread(file.fileno(), sound.flac_bytes, sound.offset)
        return None
