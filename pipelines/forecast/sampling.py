"""A stratified sample of recordings: how long they are by their headers, what is alike, and in which order to draw."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipelines.reading.containers import Opener
from pipelines.reading.decode import BadAudio, opened
from pipelines.row import Recording

MOST_HEADERS = 4000
"""Headers that are read; the length of further recordings follows from their bytes."""
WINDOW_SECONDS = 120.0
"""Of a longer recording, as much as this is drawn, at a random place."""
LENGTHS = (3.0, 10.0, 30.0, WINDOW_SECONDS)
"""Seconds that part recordings into classes of length."""
LEAST_SHARE = 0.005
"""Of all seconds: smaller strata are one."""
EACH, STRATUM = 3, 8
"""Recordings that are drawn of each stratum before any more of one; and of a sample, for each stratum in it."""


@dataclass(frozen=True)
class Lengths:
    """How long recordings are, in seconds, as far as one can tell without decoding them."""

    seconds: NDArray[np.float64]
    read: int
    """Of how many a header or the catalog says it."""


def lengths(recordings: Sequence[Recording], *, random: np.random.Generator) -> Lengths:
    """By catalog and header; of all others, by bytes, at the mean of those with the same ending."""
    told, sizes = np.empty(len(recordings)), np.empty(len(recordings))
    endings, names = np.empty(len(recordings), dtype=np.int32), dict[str, int]()
    for number, recording in enumerate(recordings):
        told[number], sizes[number] = stated(recording), recording.bytes
        endings[number] = names.setdefault(ending(recording), len(names))
    waiting = np.flatnonzero(np.isnan(told))
    opener = Opener()
    for number in random.permutation(waiting)[:MOST_HEADERS]:
        told[number] = by_header(recordings[number], opener)
    known = np.isfinite(told)
    for kind in np.unique(endings[~known]):
        alike = known & (endings == kind) & (told > 0)
        alike = alike if alike.any() else known & (told > 0)
        pace = told[alike].sum() / max(sizes[alike].sum(), 1.0) if alike.any() else 0.0
        here = ~known & (endings == kind)
        told[here] = sizes[here] * pace
    return Lengths(told, int(known.sum()))


def stated(recording: Recording) -> float:
    """Seconds as the catalog tells them; NaN where it does not."""
    if recording.fault is not None and not recording.fault.startswith("dropped:"):
        return recording.seconds or 0.0
    if recording.end_seconds is not None:
        return max(recording.end_seconds - (recording.start_seconds or 0.0), 0.0)
    return math.nan if recording.seconds is None else recording.seconds


def by_header(recording: Recording, opener: Opener) -> float:
    """Seconds by the header of the file; 0 where it cannot be read, as the corpus will count it."""
    try:
        with opener.open(recording.uri) as file, opened(file) as source:
            return (source.declared_samples or 0) / max(source.rate_hz, 1)
    except (OSError, BadAudio):
        return 0.0


def ending(recording: Recording) -> str:
    """`.flac`, in small letters."""
    return PurePosixPath(recording.name).suffix.lower()


def strata(recordings: Sequence[Recording], seconds: NDArray[np.float64], *, sample: int) -> NDArray[np.int64]:
    """A number for each recording: alike are those of one folder, ending and class of length.

    The small ones are one, such that a sample of so many recordings has some of each.
    """
    names: dict[tuple[str, str, int], int] = {}
    found = np.empty(len(recordings), dtype=np.int64)
    for number, recording in enumerate(recordings):
        top = PurePosixPath(recording.name).parts[:1] if "/" in recording.name else ("",)
        kind = (top[0], ending(recording), int(np.searchsorted(LENGTHS, seconds[number], side="right")))
        found[number] = names.setdefault(kind, len(names))
    shares = np.bincount(found, weights=seconds, minlength=len(names)) / max(seconds.sum(), 1e-9)
    large = np.argsort(-shares, kind="stable")[: max(sample // STRATUM - 1, 0)]
    large = large[shares[large] >= LEAST_SHARE]
    number_of = np.full(len(names), len(large), dtype=np.int64)
    number_of[large] = np.arange(len(large))
    return number_of[found]


def order(stratum: NDArray[np.int64], seconds: NDArray[np.float64], *, random: np.random.Generator) -> Iterator[int]:
    """All recordings in the order in which they are drawn: a few of each stratum first, then by what they hold.

    Wherever one stops, what was drawn is random within each stratum, and as even between them as it can be.
    """
    count = int(stratum.max(initial=-1)) + 1
    queues = [random.permutation(np.flatnonzero(stratum == number)).tolist() for number in range(count)]
    share = np.bincount(stratum, weights=seconds, minlength=count) / max(seconds.sum(), 1e-9)
    taken = np.zeros(count)
    for number in [*np.argsort(-share, kind="stable")] * EACH:
        if queues[number]:
            taken[number] += 1
            yield queues[number].pop()
    while any(queues):
        lack = np.array([share[n] - taken[n] / taken.sum() if queues[n] else -np.inf for n in range(count)])
        number = int(lack.argmax())
        taken[number] += 1
        yield queues[number].pop()


def window(recording: Recording, seconds: float, *, random: np.random.Generator) -> tuple[Recording, float]:
    """The recording, or a part of a long one at a random place, and how long that is.

    The text of a long recording is left out: the chain does not split it, so it goes with none of its segments.
    """
    if seconds <= WINDOW_SECONDS * 1.5:
        return recording, seconds
    begin = (recording.start_seconds or 0.0) + float(random.uniform(0, seconds - WINDOW_SECONDS))
    part = replace(recording, text=None, start_seconds=begin, end_seconds=begin + WINDOW_SECONDS, seconds=None)
    return part, WINDOW_SECONDS
