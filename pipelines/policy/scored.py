"""The stored scores of a corpus as columns: what became of every segment, kept or not; a million rows in a second."""

import json
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from infra.manifest import ManifestError, did_you_mean
from pipelines.ledger import ledger_tables, unreadable
from pipelines.policy.tombstones import tombstones_of
from pipelines.policy.withdrawn import NEEDED, Withdrawn
from pipelines.row import Segment
from pipelines.shards import read_card

MADE = ("chars_per_second", "hours")
"""Computed from other columns when asked for."""
LISTS = ("reasons", "xvector")
"""Columns that are no single value."""
FOREIGN = ("duplicate", "takedown", "license", "near_duplicate", "evaluation_overlap")
"""Reasons that no threshold has a say in: whoever asks what a policy keeps, asks it of the other segments."""


@dataclass(frozen=True)
class Scored:
    """A corpus, and a table with columns of its ledger."""

    name: str
    digest: str
    manifest: dict[str, Any] | None
    """That it was built by (from funnel.json), where it is known."""
    table: Any
    """pyarrow.Table: the columns that were asked for; `hours`, `language_or_given` and `judged` always."""

    @cached_property
    def judged(self) -> Any:
        """The rows of segments that went through the whole chain, and that a policy may keep or drop."""
        return self.table.filter(self.table["judged"])


def score_names(root: Path) -> tuple[str, ...]:
    """What a condition may name.

    Raises: CorpusError
    """
    lists = {item.name for item in fields(Segment) if "tuple" in str(item.type)}
    stored = [name for name in schema_of(root).names if name not in {*LISTS, *lists, "item_seconds"}]
    return (*stored, *MADE)


def read_scored(root: Path, names: Iterable[str]) -> Scored:
    """The ledger of the corpus in `root`, with these columns.

    Raises: CorpusError; ManifestError where a name is no score.
    """
    import pyarrow

    parts = list(scored_parts(root, names))
    return replace(parts[0], table=pyarrow.concat_tables(part.table for part in parts))


def scored_parts(root: Path, names: Iterable[str]) -> Iterator[Scored]:
    """The same, some rows at a time; one part at least.

    Raises: CorpusError; ManifestError where a name is no score.
    """
    card = read_card(root)
    stored = schema_of(root).names
    asked = set(names)
    withdrawn = Withdrawn(tombstones_of(root), str(card["name"]))
    known = {*stored, *MADE}
    if unknown := sorted(asked - known):
        raise ManifestError("scores", [f"no score {name!r}{did_you_mean(name, known)}" for name in unknown])
    needed = {*asked, "item_seconds", "language", "given_language", "status", "reason", "transform"} - set(MADE)
    if "chars_per_second" in asked:
        needed |= {"text", "seconds"}
    if withdrawn:
        needed |= {*NEEDED, "pcm_sha256"} & set(stored)
    try:
        manifest = json.loads((root / "funnel.json").read_text(encoding="utf-8")).get("manifest")
    except (OSError, ValueError):
        manifest = None
    for table in ledger_tables(root, *sorted(needed)):
        yield Scored(card["name"], card["digest"], manifest, derived(table, asked, withdrawn))


def derived(table: Any, asked: Set[str], withdrawn: Withdrawn) -> Any:
    """The columns of a ledger, with those of Scored, and those of MADE that are asked for."""
    import pyarrow
    from pyarrow import compute

    if "chars_per_second" in asked:
        length = compute.utf8_length(compute.replace_substring(table["text"], " ", ""))
        table = table.append_column("chars_per_second", compute.divide(length.cast("float64"), table["seconds"]))
    spoken = compute.coalesce(table["language"], table["given_language"], pyarrow.scalar("unknown"))
    judged = compute.equal(table["transform"], "select")
    foreign = compute.match_substring_regex(table["reason"], f"^({'|'.join(FOREIGN)})(:|$)")
    judged = compute.and_(judged, compute.invert(compute.fill_null(foreign, False)))
    if withdrawn:
        judged = compute.and_(judged, pyarrow.chunked_array([withdrawn.numbers(table) < 0]))
    table = table.append_column("hours", compute.divide(table["item_seconds"], 3600.0))
    return table.append_column("language_or_given", spoken).append_column("judged", judged)


def schema_of(root: Path) -> Any:
    """The columns of the ledger.

    Raises: CorpusError
    """
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_schema(root / "ledger.parquet")
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise unreadable(root / "ledger.parquet", error) from None


def hours_by(table: Any, column: str, *, nothing: str = "unknown") -> dict[str, float]:
    """Value -> hours; what has no value goes by the name `nothing`."""
    grouped = table.select([column, "hours"]).group_by(column).aggregate([("hours", "sum")]).to_pydict()
    pairs = zip(grouped[column], grouped["hours_sum"], strict=True)
    return {(nothing if name in (None, "") else str(name)): float(hours or 0.0) for name, hours in pairs}


def total_hours(table: Any) -> float:
    """Of all rows."""
    from pyarrow import compute

    return float(compute.sum(table["hours"]).as_py() or 0.0)
