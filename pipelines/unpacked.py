"""Where rows and sounds wait in the work folder until they are packed: about 0.3 kB of memory a segment."""

import os
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.judging import Row, row_of
from pipelines.ledger import Array, Fate, UnitResult, fate_of, result_path, sound_path
from pipelines.packing.writer import record_of
from pipelines.row import as_row, segment_of

KEY_BYTES = 26


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


def kept_sample(fate: Fate, row: Row, result: UnitResult, *, work: Path, rights: Row) -> KeptSample:
    """The sample of a row that is kept, with the rights that the catalog tells of its recording."""
    segment = {name: row[name] for name in as_row(segment_of(row))}
    return KeptSample(
        key=row["key"],
        tier=row["tier"],
        corpus=row["corpus"],
        rights=rights,
        record_bytes=len(record_of(segment, tier=row["tier"])),
        result=result_path(work, unit=result.unit, chain=result.chain),
        place=fate.place,
        file=sound_path(work, unit=result.unit, chain=result.chain),
        offset=fate.sounds[-1].offset,
        flac_bytes=fate.sounds[-1].flac_bytes,
        placed=fate.arrays,
    )


@dataclass
class SegmentSounds:
    """Where the sound of every segment lies, by its key; a few dozen bytes each."""

    files: list[Path] = field(default_factory=list)
    keys: bytearray = field(default_factory=bytearray)
    """One after another, each of KEY_BYTES."""
    places: "array[int]" = field(default_factory=lambda: array("q"))
    """For each key: number of the file, offset, bytes."""

    def add(self, key: str, file: Path, *, offset: int, flac_bytes: int) -> None:
        """The FLAC of `key` lies there."""
        if not self.files or self.files[-1] != file:
            self.files.append(file)
        assert len(key) == KEY_BYTES, f"{key!r} is no key of a segment"
        self.keys += key.encode()
        self.places.extend((len(self.files) - 1, offset, flac_bytes))

    def __call__(self, key: str) -> bytes | None:
        """The FLAC of a segment; None where none was kept."""
        at = self.keys.find(key.encode())
        while at > 0 and at % KEY_BYTES:  # the end of one key, and the beginning of the next
            at = self.keys.find(key.encode(), at + 1)
        if at < 0:
            return None
        number, offset, count = self.places[at // KEY_BYTES * 3 : at // KEY_BYTES * 3 + 3]
        with self.files[number].open("rb") as file:
            return os.pread(file.fileno(), count, offset)
