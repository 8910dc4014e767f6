"""Recordings in the order of their names, however many there are: sorted in pieces, which wait on the disk."""

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from infra.storage import named
from pipelines.row import Recording, facts_of

PIECE = 50_000
"""Recordings that are in memory at a time, about 1 kB each."""
MOST_OPEN = 128
"""Files that are read at a time."""


@dataclass(frozen=True)
class Ordered:
    """Recordings by name and interval, in files that are merged as they are read."""

    pieces: Sequence[Path]
    count: int
    bytes: int
    """Of all of them, as delivered."""

    def __iter__(self) -> Iterator[Recording]:
        return merged(self.pieces)


def place(recording: Recording) -> tuple[str, float]:
    """What orders recordings, and tells one from another."""
    return recording.name, recording.start_seconds or 0.0


def ordered(recordings: Iterable[Recording], *, folder: Path) -> Ordered:
    """Read them all, and put them in order, into the empty folder `folder`, which is the caller's to remove.

    What comes in order, as most catalogs do, is one piece, however long, and is not merged.
    """
    pieces: list[Path] = []
    count = size = 0
    last: tuple[str, float] | None = None
    waiting = iter(recordings)
    while taken := sorted(islice(waiting, PIECE), key=place):
        if last is None or place(taken[0]) < last:
            pieces.append(folder / f"{len(pieces):06d}.jsonl")
        write(pieces[-1], taken)
        last = place(taken[-1])
        count += len(taken)
        size += sum(recording.bytes for recording in taken)
    level = 0
    while len(pieces) > MOST_OPEN:
        groups = [pieces[start : start + MOST_OPEN] for start in range(0, len(pieces), MOST_OPEN)]
        pieces, level = [folder / f"merged-{level}-{number:06d}.jsonl" for number in range(len(groups))], level + 1
        for path, group in zip(pieces, groups, strict=True):
            write(path, merged(group))
            for part in group:
                part.unlink()
    return Ordered(pieces, count, size)


def write(path: Path, recordings: Iterable[Recording]) -> None:
    """Add them to a piece."""
    with named(path), path.open("ab") as file:
        for recording in recordings:
            file.write(json.dumps(facts_of(recording)).encode() + b"\n")


def merged(pieces: Iterable[Path]) -> Iterator[Recording]:
    """Sorted pieces as one."""
    return heapq.merge(*map(read, pieces), key=place)


def read(path: Path) -> Iterator[Recording]:
    """The recordings of a piece."""
    with path.open("rb") as file:
        for line in file:
            yield Recording(**json.loads(line))
