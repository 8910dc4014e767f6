"""Take samples down, by speaker, recording, URL, hash or key: found in the ledger, hidden by a tombstone at once."""

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from infra.manifest import did_you_mean
from infra.objects import Place
from infra.workflow.node import Refused
from infra.workflow.store import Store
from pipelines.policy.redaction import named_in, tombstone_tables
from pipelines.policy.tombstones import (
    COLUMNS,
    FILE,
    Span,
    Tombstone,
    append,
    merged,
    store_list,
    store_of,
    tombstones_of,
)
from pipelines.policy.withdrawn import NEEDED, Withdrawn
from pipelines.shards import CorpusError, open_corpus, read_card

WHOLE = 1e9
"""Seconds: to the end of any recording."""
SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_NAMES = 20_000
CUT = ("key", "speaker")
"""What names segments and not recordings: what they are of is noted as intervals, however it is cut next time."""


@dataclass(frozen=True)
class Found:
    """What a tombstone hides in one corpus."""

    root: Path
    name: str
    segments: int
    kept: int
    """Of those, samples that readers see until now, or saw."""
    hours_kept: float
    known_since: str | None
    """When the same decision was written down before."""


def tombstone_for(
    root: Path, *, field: str, values: Sequence[str], why: str, who: str, reason: str = "takedown"
) -> Tombstone:
    """The tombstone, with the intervals of what is found in the ledger of the corpus in `root` (kept or not).

    It may name what gave no segment yet: a recording that failed, or the hash of a file that nobody has seen.

    Raises: Refused where nothing is found that was not taken down before; CorpusError.
    """
    if field == "sha256":
        values = [value.lower() for value in values]
    name = str(read_card(root)["name"])
    local = field in ("recording", "speaker") or reason != "takedown"
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    made = Tombstone(
        field=field, values=tuple(values), corpus=name if local else None, reason=reason, why=why, who=who, when=when
    )
    hit = named_in(root, Withdrawn([made], name))
    known = hit.num_rows or any(item.decision == made.decision for item in tombstones_of(root))
    if not known and not (field == "sha256" and all(SHA256.fullmatch(value) for value in values)):
        raise Refused(f"{name}: nothing has the {field} {values[0]!r}{nearest(root, field, values[0])}")
    if reason != "takedown" or field not in (*CUT, "recording"):
        return made
    rows = hit.select(["recording_sha256", "start_sample", "end_sample", "rate_hz"]).to_pylist()
    told = "recording_sha256" if field == "recording" else "rate_hz"
    return replace(made, spans=merged(span_of(row, field=field) for row in rows if row[told]))


def span_of(row: Mapping[str, Any], *, field: str) -> Span:
    """What of the recording a tombstone of this field takes down, by the row of a segment that it names."""
    if field == "recording":
        return row["recording_sha256"], 0.0, WHOLE
    return row["recording_sha256"], row["start_sample"] / row["rate_hz"], row["end_sample"] / row["rate_hz"]


def nearest(root: Path, field: str, value: str) -> str:
    """A suggestion for a name that is not there, among the first MOST_NAMES that are."""
    known: set[str] = set()
    for table in tombstone_tables(root):
        for column in COLUMNS[field]:
            if column in table.column_names:
                known |= {str(item) for item in table[column].unique().to_pylist() if item is not None}
        if len(known) >= MOST_NAMES:
            break
    return did_you_mean(value, sorted(known)[:MOST_NAMES])


def found_in(root: Path, made: Tombstone) -> Found:
    """What the tombstone hides in the corpus in `root`."""
    name = str(read_card(root)["name"])
    hit = named_in(root, Withdrawn([made], name), "status", "item_seconds")
    hit = hit.filter(hit["key"].is_valid())
    kept = np.asarray(hit["status"].to_numpy(zero_copy_only=False) == "kept", dtype=bool)
    since = next((item.when for item in tombstones_of(root) if item.decision == made.decision), None)
    hours = float(hit["item_seconds"].to_numpy()[kept].sum()) / 3600
    return Found(root, name, hit.num_rows, int(kept.sum()), hours, since)


def touched(root: Path, made: Tombstone) -> list[Found]:
    """The corpus in `root`, and every other corpus of its store in which the tombstone hides something."""
    return [found_in(root, made), *hidden_among(corpora_beside(root), made)]


def hidden_among(roots: Iterable[Path], made: Tombstone) -> list[Found]:
    """Those of the corpora in `roots` in which the tombstone hides something."""
    found = []
    for root in roots:
        try:
            more = found_in(root, made)
        except CorpusError:
            continue  # a corpus without a ledger, or of another format: its readers obey the store's list
        found += [more] if more.segments else []
    return found


def published_in(place: Place, made: Tombstone) -> tuple[str, int]:
    """Name of the corpus that is published in `place`, and how many samples of it the tombstone hides from readers.

    Raises: CorpusError where none is: a tombstone there would hide nothing.
    """
    corpus = open_corpus(place)
    hit = Withdrawn([made], corpus.name).numbers(corpus.rows.columns(*NEEDED, "pcm_sha256")) >= 0
    return corpus.name, int(hit.sum())


def corpora_beside(root: Path) -> list[Path]:
    """The other corpora of the store that the corpus in `root` is in."""
    store = store_of(root)
    return [] if store is None else [out for out in corpora_in(store) if out.resolve() != root.resolve()]


def corpora_in(store: Path) -> list[Path]:
    """Every finished corpus of a store, newest first."""
    return [slot.out for slot in Store(store).slots() if (slot.out / "corpus.json").is_file()]


def take_down(root: Path, made: Tombstone, found: Sequence[Found]) -> None:
    """Write it down: first in the store's list, which builds and readers obey; then beside every corpus it touches."""
    store = store_of(root)
    if store is not None:
        append(store_list(store), [made])
    for place in found:
        append(place.root / FILE, [made])
