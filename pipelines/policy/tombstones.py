"""Tombstones: what was taken down, and who said so, when and why. Lists that only grow; readers and builds obey them.

<store>/_tombstones/tombstones.jsonl    for every corpus of the store, and for those that are built later
<corpus>/tombstones.jsonl               those that touch this corpus, so that they go where a copy of it goes
<target>/tombstones/000000.json         those of a published corpus, an object each, which nobody overwrites
A sample is not removed by it but hidden; `stipple corpus compact` writes a version without its bytes.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.locks import owned
from infra.manifest import canonical, digest
from infra.objects import Place
from infra.storage import write_atomic
from pipelines.packing.layout import CorpusError

FILE = "tombstones.jsonl"
TAKEDOWN = "takedown"
"""The reason of a tombstone that hides a person's voice or somebody's recording, and not a copy of another sound."""
FOLDER = "_tombstones"
"""Of a store: no node can have this name."""
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "key": ("key",),
    "recording": ("recording",),
    "sha256": ("recording_sha256", "pcm_sha256"),
    "speaker": ("given_speaker", "speaker"),
    "url": ("source",),
}
"""What a tombstone names -> the columns that it is looked for in."""
LOCAL = ("recording", "speaker")
"""Names that mean something in one corpus only."""

Span = tuple[str, float, float]
"""sha256 of a recording, and an interval of it in seconds: taken down, however it is cut next time."""


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """One decision."""

    field: str
    """A key of COLUMNS."""
    values: tuple[str, ...]
    corpus: str | None
    """Name of the corpus that it is about; None for all of them."""
    spans: tuple[Span, ...] = ()
    reason: str = TAKEDOWN
    """`takedown`, `near_duplicate` or `evaluation_overlap`: the reason in ledgers."""
    why: str
    who: str
    when: str
    """UTC, ISO 8601."""

    @property
    def decision(self) -> str:
        """The same for the same decision, whoever takes it, whenever, and whatever is known of it by then."""
        return digest([self.field, sorted(self.values), self.corpus, self.reason])[:16]

    @property
    def id(self) -> str:
        """The same for the same decision over the same intervals."""
        return digest([self.decision, self.spans])[:16] if self.spans else self.decision

    @property
    def told(self) -> str:
        """For ledgers: why, and when."""
        return f"{self.why} ({self.when[:10]})"


def parse_tombstones(text: str, *, where: str) -> list[Tombstone]:
    """The lines of a list.

    Raises: CorpusError, since who cannot read a list must not go on without it.
    """
    found = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        try:
            facts = json.loads(line)
            facts["values"] = tuple(facts["values"])
            facts["spans"] = tuple((sha, float(start), float(end)) for sha, start, end in facts["spans"])
            found.append(Tombstone(**{key: value for key, value in facts.items() if key != "id"}))
        except (ValueError, TypeError, KeyError) as error:
            told = " ".join(str(error).split())[:120]
            raise CorpusError(f"{where}: line {number} is no tombstone ({told}); mend it, or put a copy back") from None
        if found[-1].field not in COLUMNS:
            raise CorpusError(f"{where}: line {number} names a {found[-1].field!r}, which nobody can look for")
    return found


def read_tombstones(path: Path) -> list[Tombstone]:
    """The list in the file; nothing where there is none."""
    return parse_tombstones(path.read_text(encoding="utf-8"), where=str(path)) if path.is_file() else []


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Intervals in order, those that touch joined."""
    done: list[Span] = []
    for sha, start, end in sorted(spans):
        if done and done[-1][0] == sha and start <= done[-1][2] + 1e-6:
            done[-1] = (sha, done[-1][1], max(end, done[-1][2]))
        else:
            done.append((sha, start, end))
    return tuple(done)


def covered(made: Tombstone, known: Iterable[Tombstone]) -> bool:
    """Was the same decision written down before, for all of its intervals?"""
    same = [item for item in known if item.decision == made.decision]
    whole: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for sha, low, high in merged(span for item in same for span in item.spans):
        whole[sha].append((low, high))
    return bool(same) and all(
        any(low <= start + 1e-6 and end <= high + 1e-6 for low, high in whole[sha]) for sha, start, end in made.spans
    )


def append(path: Path, tombstones: Iterable[Tombstone]) -> int:
    """Add those that are not there yet; the file is whole at every moment. How many were added."""
    with owned(path.with_name(f".{path.name}.lock"), waiting=lambda _: None):
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        known, new = parse_tombstones(before, where=str(path)), list[Tombstone]()
        for item in tombstones:
            if not covered(item, [*known, *new]):
                new.append(item)
        if new:
            lines = [canonical({"id": item.id, **asdict(item)}) for item in new]
            ended = before + "\n" if before and not before.endswith("\n") else before  # mended by hand
            write_atomic(path, ended + "".join(line + "\n" for line in lines))
    return len(new)


def published_name(number: int) -> str:
    """Of the object of a tombstone, relative to where a corpus is published."""
    return f"tombstones/{number:06d}.json"


def published_tombstones(place: Place) -> list[Tombstone]:
    """Those of a published corpus, in the order in which they came."""
    found: list[Tombstone] = []
    while True:
        name = published_name(len(found))
        try:
            text = place.read(name).decode()
        except (FileNotFoundError, NotADirectoryError):
            return found
        found += parse_tombstones(text, where=f"{place}/{name}")


def publish_tombstone(place: Place, made: Tombstone) -> bool:
    """Add it to a published corpus, unless it is there; of two who come at once, each gets a number of its own."""
    known = published_tombstones(place)
    data = canonical({"id": made.id, **asdict(made)}).encode()
    while not covered(made, known):
        if place.create(published_name(len(known)), data):
            return True
        known = published_tombstones(place)
    return False


def store_list(store: Path) -> Path:
    """The list of a store."""
    return store / FOLDER / FILE


def store_of(root: Path) -> Path | None:
    """The store that the corpus in `root` was built into; None for a corpus from elsewhere."""
    slot = root.absolute().parent
    return slot.parents[1] if (slot / "state.json").is_file() else None


def tombstones_of(root: Path) -> list[Tombstone]:
    """All that may concern the corpus in `root`: of its own list, and of its store's."""
    store = store_of(root)
    found = {item.id: item for item in read_tombstones(root / FILE)}
    for item in read_tombstones(store_list(store)) if store is not None else []:
        found.setdefault(item.id, item)
    return list(found.values())
