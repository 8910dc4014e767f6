"""What a manifest says of all recordings; and which are worked on: each once, none of an evaluation set unasked."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from pipelines.hashes import Hashes
from pipelines.row import Recording

BATCH = 4096
"""Recordings that are looked up together."""


def filled_in(recording: Recording, *, license: str, source: str, language: str | None) -> Recording:
    """The recording, with what is said of all of them where it says nothing itself."""
    told: dict[str, Any] = {
        "license": license if recording.license == "unknown" else recording.license,
        "source": recording.source or source,
        "language": recording.language or language,
    }
    same = all(getattr(recording, name) == value for name, value in told.items())
    return recording if same else replace(recording, **told)


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
    """The recordings that came so far, each as 64 bits of a hash."""

    def __init__(self) -> None:
        self.hashes = Hashes()

    def before(self, batch: list[Recording]) -> list[int | None]:
        """For each that was met before, how many different ones were; None for the others, which are added."""
        places = np.array([hash((item.name, item.start_seconds or 0.0)) for item in batch], dtype=np.int64)
        known, count = self.hashes.known(places).tolist(), self.hashes.count
        new, found = set[int](), list[int | None]()
        for place, old in zip(places.tolist(), known, strict=True):
            found.append(count + len(new) if old or place in new else None)
            if not old:
                new.add(place)
        self.hashes.add(places)
        return found


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
