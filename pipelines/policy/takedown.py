"""Take samples down, by speaker, recording, URL, hash or key: found in the ledger, hidden by a tombstone at once."""

import datetime
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from infra.workflow.node import Refused
from infra.workflow.store import Store
from pipelines.policy.scored import read_scored, schema_of
from pipelines.policy.tombstones import (
    COLUMNS,
    FILE,
    NEEDED,
    Span,
    Tombstone,
    Withdrawn,
    append,
    read_tombstones,
    store_list,
    store_of,
)
from pipelines.shards import CorpusError, read_card

WHOLE = 1e9
"""Seconds: to the end of any recording."""
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

    Raises: Refused where nothing is found; CorpusError.
    """
    table = facts_of(root)
    name = str(read_card(root)["name"])
    local = field in ("recording", "speaker") or reason != "takedown"
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    made = Tombstone(
        field=field, values=tuple(values), corpus=name if local else None, reason=reason, why=why, who=who, when=when
    )
    hit = table.filter(Withdrawn([made], name).numbers(table) >= 0)
    if not hit.num_rows:
        raise Refused(f"{name}: nothing has the {field} {values[0]!r}{nearest(table, field, values[0])}")
    if reason != "takedown" or field not in (*CUT, "recording"):
        return made
    rows = hit.select(["recording_sha256", "start_sample", "end_sample", "rate_hz"]).to_pylist()
    if field == "recording":
        return replace(
            made, spans=tuple((sha, 0.0, WHOLE) for sha in sorted({str(row["recording_sha256"]) for row in rows}))
        )
    cut = [(r["recording_sha256"], r["start_sample"] / r["rate_hz"], r["end_sample"] / r["rate_hz"]) for r in rows]
    return replace(made, spans=merged(cut))


def facts_of(root: Path) -> Any:
    """What tombstones look at, of every segment in the ledger."""
    stored = schema_of(root).names
    names = [name for name in (*NEEDED, "pcm_sha256") if name in stored]
    table = read_scored(root, names).table
    return table.filter(table["key"].is_valid())


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Intervals in order, those that touch joined."""
    done: list[Span] = []
    for sha, start, end in sorted(spans):
        if done and done[-1][0] == sha and start <= done[-1][2] + 1e-6:
            done[-1] = (sha, done[-1][1], max(end, done[-1][2]))
        else:
            done.append((sha, start, end))
    return tuple(done)


def nearest(table: Any, field: str, value: str) -> str:
    """A suggestion for a name that is not there."""
    known: set[str] = set()
    for column in COLUMNS[field]:
        if column in table.column_names:
            known |= {str(item) for item in table[column].unique().to_pylist() if item is not None}
    near = difflib.get_close_matches(value, sorted(known)[:20_000], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def found_in(root: Path, made: Tombstone) -> Found:
    """What the tombstone hides in the corpus in `root`."""
    name = str(read_card(root)["name"])
    table = facts_of(root)
    hit = table.filter(Withdrawn([made], name).numbers(table) >= 0)
    kept = np.asarray(hit["status"].to_numpy(zero_copy_only=False) == "kept", dtype=bool)
    since = next((item.when for item in read_tombstones(root / FILE) if item.id == made.id), None)
    return Found(root, name, hit.num_rows, int(kept.sum()), float(hit["hours"].to_numpy()[kept].sum()), since)


def touched(root: Path, made: Tombstone) -> list[Found]:
    """The corpus in `root`, and every other corpus of its store in which the tombstone hides something."""
    found = [found_in(root, made)]
    for other in corpora_beside(root):
        try:
            more = found_in(other, made)
        except CorpusError:
            continue  # a corpus without a ledger, or of another format: its readers obey the store's list
        found += [more] if more.segments else []
    return found


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
