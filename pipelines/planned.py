"""The units of a corpus, a line each in a file: whoever works on one, or sums up, reads it there.

The driver holds about 60 bytes a unit of it, and nothing of a recording, so that there may be any number of these.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.storage import replacing
from pipelines.manifest import Units
from pipelines.reading.ordered import ordered
from pipelines.row import Recording
from pipelines.units import Unit, cut

PLAN = "plan.jsonl"
"""In the work folder."""
GROUP = 8
"""Units whose verdicts are found together: some thousand clips of ten seconds, whose rows take some megabytes."""


class Line(NamedTuple):
    """Where a unit lies in the file."""

    start: int
    bytes: int


class Group(NamedTuple):
    """Units that follow one another, by where they lie."""

    path: Path
    start: int
    bytes: int
    names: tuple[str, ...]

    def units(self) -> Iterator[Unit]:
        """Read from the file."""
        with self.path.open("rb") as file:
            yield from map(Unit.from_json, os.pread(file.fileno(), self.bytes, self.start).splitlines())


@dataclass(frozen=True)
class Planned:
    """The units of a corpus, in the order of its recordings."""

    path: Path
    ids: NDArray[np.bytes_]
    starts: NDArray[np.int64]
    """Where each unit begins in the file, and where the last one ends."""
    counts: NDArray[np.int32]
    """Recordings of each unit."""
    sizes: NDArray[np.int64]
    """Bytes of their files."""
    with_text: int
    """Recordings that have a text."""

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Unit]:
        with self.path.open("rb") as file:
            for line in file:
                yield Unit.from_json(line)

    @cached_property
    def recordings(self) -> int:
        """How many there are."""
        return int(self.counts.sum(dtype=np.int64))

    def name(self, number: int) -> str:
        """The id of a unit."""
        return bytes(self.ids[number]).decode()

    def names(self) -> Iterator[str]:
        """The ids of the units."""
        return (name.decode() for name in self.ids)

    def line(self, number: int) -> Line:
        """Where unit `number` lies."""
        return Line(int(self.starts[number]), int(self.starts[number + 1] - self.starts[number]))

    def groups(self) -> Iterator[Group]:
        """All units, GROUP at a time."""
        for first in range(0, len(self), GROUP):
            last = min(first + GROUP, len(self))
            start, end = int(self.starts[first]), int(self.starts[last])
            yield Group(self.path, start, end - start, tuple(name.decode() for name in self.ids[first:last]))


class Recordings(Sequence[Recording]):
    """The recordings of a plan, in order: read when they are asked for, and one after another at little cost."""

    def __init__(self, units: Planned) -> None:
        self.units = units
        self.ends = np.cumsum(units.counts, dtype=np.int64)
        self._unit = lru_cache(8)(lambda number: read_unit(units.path, units.line(number)))

    def __len__(self) -> int:
        return self.units.recordings

    def __iter__(self) -> Iterator[Recording]:
        for unit in self.units:
            yield from unit.recordings

    def __getitem__(self, number: int) -> Recording:  # type: ignore[override]
        unit = int(np.searchsorted(self.ends, number, side="right"))
        return self._unit(unit).recordings[number - int(self.ends[unit] - self.units.counts[unit])]


def planned(recordings: Iterable[Recording], *, limits: Units, path: Path) -> Planned:
    """Cut recordings, in order of their names, into units, and write them to `path`, whole or not at all.

    The order in which recordings come does not matter; beside the file, they wait in a folder while they are sorted.

    Raises: TwoOfOneName where two recordings have the same name and interval.
    """
    ids, starts, counts, sizes, texts = list[bytes](), [0], list[int](), list[int](), 0
    folder = path.with_name(f"{path.name}.sorting")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        whole = ordered(recordings, folder=folder)
        with replacing(path) as file:
            for unit in cut(whole, total_bytes=whole.bytes, limits=limits):
                line = unit.to_json().encode() + b"\n"
                file.write(line)
                ids.append(unit.id.encode())
                starts.append(starts[-1] + len(line))
                counts.append(len(unit.recordings))
                sizes.append(unit.bytes)
                texts += sum(recording.text is not None for recording in unit.recordings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    numbers = np.array(starts, dtype=np.int64), np.array(counts, dtype=np.int32), np.array(sizes, dtype=np.int64)
    return Planned(path, np.array(ids, dtype=np.bytes_), *numbers, with_text=texts)


def read_unit(path: Path, place: Line) -> Unit:
    """The unit that lies there."""
    with path.open("rb") as file:
        return Unit.from_json(os.pread(file.fileno(), place.bytes, place.start))
