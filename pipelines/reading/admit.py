"""Which recordings may be worked on: each one once, and none that measures models, unless that is asked for."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from pipelines.row import Recording


def admitted(recordings: Iterable[Recording], *, allow_evaluation: bool) -> Iterator[Recording]:
    """All of them, in order. Those that may not be worked on carry the reason as their `fault`: `probe` then makes it a
    row of the ledger, with the hours that they have, so that nothing is left out in silence.
    """
    seen: set[int] = set()
    for recording in recordings:
        place = hash((recording.name, recording.start_seconds or 0.0))
        if place in seen:
            yield again(recording, number=len(seen))
            continue
        seen.add(place)
        yield recording if allow_evaluation else held_out(recording)


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
