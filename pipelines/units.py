"""Work units: recordings that one worker takes together, cut the same way every time."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from infra.manifest import canonical, digest
from pipelines.manifest import CorpusManifest, Units
from pipelines.reading.admit import admitted, filled_in
from pipelines.reading.containers import Files
from pipelines.reading.ordered import place
from pipelines.row import Recording, facts_of

FEWEST = 32
"""Units that a corpus has at least, if they are not smaller than this:"""
LEAST_BYTES = 2**20
RIGHTS = ("license", "source")
"""What a catalog tells of a recording for people and policies alone: a correction costs no model call."""


class TwoOfOneName(ValueError):  # noqa: N818 - reads as what is wrong
    """Recordings that cannot be told apart. The message is a sentence for a person."""


@dataclass(frozen=True)
class Unit:
    """Recordings to be worked on by one worker, and a name that tells this work from all other."""

    id: str
    recordings: tuple[Recording, ...]

    def to_json(self) -> str:
        """As text, to travel to a worker."""
        return json.dumps({"id": self.id, "recordings": [facts_of(recording) for recording in self.recordings]})

    @staticmethod
    def from_json(text: str | bytes) -> "Unit":
        """What `to_json` made."""
        data = json.loads(text)
        return Unit(data["id"], tuple(Recording(**recording) for recording in data["recordings"]))

    @property
    def bytes(self) -> int:
        """Of the files, each counted once."""
        return sum({recording.uri: recording.bytes for recording in self.recordings}.values())


def prepared(recordings: Iterable[Recording], *, manifest: CorpusManifest) -> Iterator[Recording]:
    """What is to be worked on, or to be told of as not admitted."""
    found = (
        filled_in(recording, license=manifest.license, source=manifest.source, language=manifest.language)
        for recording in recordings
    )
    return admitted(found, allow_evaluation=manifest.allow_evaluation)


def cut(recordings: Iterable[Recording], *, total_bytes: int, limits: Units) -> Iterator[Unit]:
    """Cut recordings, in order of their names, into units; a recording over the limit is a unit of its own.

    Where a unit ends is decided by the name of its last recording, not by a count from the start: what is added to a
    corpus later changes the units that it falls into, and no others.

    Raises: TwoOfOneName where two recordings have the same name and interval.
    """
    most, files = most_bytes(total_bytes, limits=limits), Files()
    before: Recording | None = None
    taken: list[Recording] = []
    size = 0
    for recording in recordings:
        if before is not None and place(before) == place(recording):
            raise TwoOfOneName(f"{recording.name}: there are two recordings of this name; give each a name of its own")
        before = recording
        more = recording.bytes if not taken or taken[-1].uri != recording.uri else 0
        if taken and (size + more > most or len(taken) >= limits.max_recordings or ends(taken[-1], size, most=most)):
            yield unit_of(taken, files=files)
            taken, size, more = [], 0, recording.bytes
        taken.append(recording)
        size += more
    if taken:
        yield unit_of(taken, files=files)


def most_bytes(total: int, *, limits: Units) -> float:
    """How large a unit may be: small corpora have smaller ones, so that there are enough to share and to watch.

    Powers of two, so that a few more recordings leave it as it is.
    """
    share = 2.0 ** int(math.log2(max(total / FEWEST, LEAST_BYTES)))
    return min(limits.max_mb * 1e6, share)


def ends(recording: Recording, size: int, *, most: float) -> bool:
    """Does a unit of this size end with the recording? Where its name says so, once a quarter is filled; on average
    another quarter later.
    """
    if size < most / 4:
        return False
    chance = int(digest(recording.name)[:8], 16) / 2**32
    return chance < recording.bytes / (most / 4)


def unit_of(recordings: list[Recording], *, files: Files | None = None) -> Unit:
    """A unit named by what the recordings are and when their files were last written.

    License and source decide nothing that a transform finds out, and are looked up anew when a corpus is put together
    (`rights_of`): they are part of the name only where the intervals of one file differ in them.
    """
    apart = {recording.name for recording in recordings} - rights_of(recordings).keys()
    told: list[Any] = []
    files = files or Files()
    for recording in recordings:
        facts = {**facts_of(recording), "uri": files.written(recording.uri)}
        told.append(facts if recording.name in apart else {**facts, **dict.fromkeys(RIGHTS)})
    return Unit(digest(canonical(told))[:24], tuple(recordings))


def rights_of(recordings: Iterable[Recording]) -> dict[str, dict[str, str]]:
    """Name -> license and source, as the catalog tells them now; without files whose intervals differ in them."""
    found: dict[str, dict[str, str]] = {}
    apart = set[str]()
    for recording in recordings:
        rights = {name: getattr(recording, name) for name in RIGHTS}
        if found.setdefault(recording.name, rights) != rights:
            apart.add(recording.name)
    return {name: rights for name, rights in found.items() if name not in apart}
