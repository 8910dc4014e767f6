"""Which recordings may be worked on: each one once, and none that measures models, unless that is asked for."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pipelines.row import Recording

BATCH = 16_384
"""Recordings that are looked up together."""


def admitted(recordings: Iterable[Recording], *, allow_evaluation: bool) -> Iterator[Recording]:
    """All of them, in order. Those that may not be worked on carry the reason as their `fault`: `probe` then makes it a
    row of the ledger, with the hours that they have, so that nothing is left out in silence.
    """
    met = Met()
    waiting = iter(recordings)
    while batch := list(islice(waiting, BATCH)):
        for recording, number in zip(batch, met.before(batch), strict=True):
            if number is not None:
                yield again(recording, number=number)
            else:
                yield recording if allow_evaluation else held_out(recording)


class Met:
    """The recordings that came so far, each as 64 bits of a hash: 8 bytes of memory each, 24 at the worst moment.

    They lie in sorted runs, each at least twice as long as the next, so that there are few, and each is seldom merged.
    """

    def __init__(self) -> None:
        self.runs: list[NDArray[np.int64]] = []
        self.count = 0

    def before(self, batch: list[Recording]) -> list[int | None]:
        """For each that was met before, how many different ones were; None for the others, which are added."""
        places = [hash((recording.name, recording.start_seconds or 0.0)) for recording in batch]
        known = self.known(np.array(places, dtype=np.int64)).tolist()
        new, found = set[int](), list[int | None]()
        for place, old in zip(places, known, strict=True):
            found.append(self.count + len(new) if old or place in new else None)
            if not old:
                new.add(place)
        self.add(np.sort(np.fromiter(new, dtype=np.int64, count=len(new))))
        return found

    def known(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of them are in the runs."""
        found = np.zeros(len(places), dtype=np.bool_)
        for run in self.runs:
            found |= run[np.minimum(np.searchsorted(run, places), len(run) - 1)] == places
        return found

    def add(self, run: NDArray[np.int64]) -> None:
        """A sorted run of new ones."""
        self.count += len(run)
        while self.runs and len(self.runs[-1]) < 2 * len(run):
            run = np.concatenate([self.runs.pop(), run])
            run.sort(kind="stable")
        if len(run):
            self.runs.append(run)


def held_out(recording: Recording) -> Recording:
    """The recording; with a fault, where it belongs to an evaluation set."""
    if not recording.evaluation or recording.fault is not None:
        return recording
    part = f"split {recording.split}" if recording.split else "an evaluation set"
    return replace(
        recording, fault=f"dropped:evaluation: {part} is for measuring models; allow_evaluation lets it into training"
    )


def again(recording: Recording, *, number: int) -> Recording:
    """A recording that was listed before, under a name of its own."""
    return replace(
        recording,
        name=f"{recording.name}#again{number}",
        fault=recording.fault or "failed:duplicate: it is listed twice",
        seconds=None,
    )
