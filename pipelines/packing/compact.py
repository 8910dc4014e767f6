"""A version of a corpus without what tombstones hide: new shards, a new digest; of a selection, a corpus of its own."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.locks import new_folder
from infra.storage import write_json
from infra.workflow.node import Refused
from pipelines.funnel import Funnel
from pipelines.ledger import ROW_GROUP, RecordingFact, ledger_table, ledger_tables, ledger_writer
from pipelines.packing.cutting import plan
from pipelines.packing.finish import finish
from pipelines.packing.index import Rows
from pipelines.packing.layout import shard_path
from pipelines.packing.members import SPK
from pipelines.packing.parts import segment_columns
from pipelines.packing.tar import BLOCK
from pipelines.packing.writer import write_shard
from pipelines.policy.redaction import Redactor, recordings_taken_down_in, redactor_of
from pipelines.policy.tombstones import tombstones_of
from pipelines.policy.views import corpus_and_selection, refuse_if_hidden_since
from pipelines.policy.withdrawn import Withdrawn
from pipelines.shards import Corpus, open_corpus, read_card


@dataclass(frozen=True, slots=True)
class Left:
    """A sample to be packed again: where it lies now."""

    number: int
    rows: Rows
    key: str
    tier: str
    file: Path
    offset: int
    flac_bytes: int
    record_bytes: int
    arrays: Mapping[str, tuple[int, int]]
    """Name -> where the bytes of its .npy lie in `file`: offset and length."""

    @property
    def row(self) -> Mapping[str, Any]:
        """The fields of its segment."""
        row = self.rows[self.number]
        return {name: row[name] for name, _ in segment_columns()}


def compact(root: Path, out: Path, *, soft_bytes: int) -> dict[str, Any]:
    """Write what readers see of the corpus (or selection) in `root` into the folder `out`; returns its card.

    The bytes of every sound are copied as they are. The ledger keeps its rows; of those that were taken down, no more
    than that they were. Pages and clips to listen to are not copied.

    Raises: Refused where nothing is left, `out` is not empty, or more was taken down meanwhile; CorpusError.
    """
    corpus = open_corpus(root)
    if not len(corpus):
        raise Refused(f"{root}: nothing is left of it; remove the folder instead")
    with new_folder(out):
        return write_version(root, corpus, out, soft_bytes=soft_bytes)


def write_version(root: Path, corpus: Corpus, out: Path, *, soft_bytes: int) -> dict[str, Any]:
    """What `compact` does, in a folder that is ours."""
    place, _ = corpus_and_selection(root, None)
    left = list(left_of(corpus, place))
    members = sorted({name for item in left for name in item.arrays})
    left = [
        replace(item, arrays={k: v for k, v in item.arrays.items() if k != SPK}) for item in left
    ]  # it is in the row
    planned = plan(left, soft_bytes=soft_bytes, members=members)
    facts: dict[str, Any] = {"compacted_from": f"{corpus.name}@{read_card(place)['digest']}"}
    if (place / "ledger.parquet").is_file():
        told = write_ledger_of(place, out, corpus)
        facts |= {"funnel": told["hours"]}

    def shards() -> Iterator[dict[str, Any]]:
        for number, items in enumerate(planned):
            yield write_shard(out, number, items, members=members)
        refuse_if_hidden_since(root, corpus, out)  # before the card makes a corpus of it

    finish(out, name=corpus.name, shards=shards(), facts=facts)
    return read_card(out)


def left_of(corpus: Corpus, place: Path) -> Iterator[Left]:
    """The samples that are seen."""
    names = ("key", "tier", "shard", "flac_offset", "flac_bytes", "json_offset", "json_bytes")
    for number, row in enumerate(corpus.rows.columns(*names).to_pylist()):
        file = place / shard_path(row["shard"])
        end = row["json_offset"] + row["json_bytes"]
        yield Left(
            number=number,
            rows=corpus.rows,
            key=row["key"],
            tier=row["tier"],
            file=file,
            offset=row["flac_offset"],
            flac_bytes=row["flac_bytes"],
            record_bytes=row["json_bytes"],
            arrays=arrays_after(file, end, key=row["key"]),
        )


def arrays_after(file: Path, end: int, *, key: str) -> dict[str, tuple[int, int]]:
    """Name -> offset and length of the arrays of a sample, which follow its record in the tar."""
    found: dict[str, tuple[int, int]] = {}
    with file.open("rb") as tar:
        at = -(-end // BLOCK) * BLOCK
        while head := os.pread(tar.fileno(), BLOCK, at):
            name, _, ending = head[:100].rstrip(b"\0").decode("ascii", "replace").partition(".")
            if name != key or not ending.endswith(".npy"):
                break
            size = int(head[124:135], 8)
            found[ending.removesuffix(".npy")] = (at + BLOCK, size)
            at += BLOCK + -(-size // BLOCK) * BLOCK
    return found


def write_ledger_of(place: Path, out: Path, corpus: Corpus) -> dict[str, Any]:
    """The ledger, with what is not seen any more as dropped, and the funnel over it; returns the funnel."""
    before = json.loads((place / "funnel.json").read_text(encoding="utf-8"))
    withdrawn, redactor = Withdrawn(tombstones_of(place), corpus.name), redactor_of(place)
    gone = recordings_taken_down_in(place, redactor)
    seen = {row["key"]: row["tier"] for row in corpus.rows.columns("key", "tier").to_pylist()}
    funnel = Funnel(list(before.get("by_transform") or {"select": {}}))
    with ledger_writer(out / "ledger.parquet") as put:
        for table in ledger_tables(place, rows=ROW_GROUP):
            rows = [fate_now(row, withdrawn, seen, redactor=redactor, gone=gone) for row in table.to_pylist()]
            put(ledger_table(rows))
            funnel.add(facts_of(rows), rows)
    new = funnel.facts()
    counted = {
        name: before[name]
        for name in ("recordings", "recordings_failed", "segments", "speech_coverage")
        if name in before
    }
    facts = {**before, **new, **counted}
    write_json(out / "funnel.json", facts)
    return facts


def facts_of(rows: list[dict[str, Any]]) -> list[RecordingFact]:
    """The recordings that these rows are of."""
    seconds: dict[str, float] = defaultdict(float)
    segments: dict[str, int] = defaultdict(int)
    for row in rows:
        seconds[row["recording"]] += row["item_seconds"]
        segments[row["recording"]] += row["key"] is not None
    return [RecordingFact(name, total, segments[name]) for name, total in seconds.items()]


def fate_now(
    row: dict[str, Any], withdrawn: Withdrawn, seen: Mapping[str, str], *, redactor: Redactor, gone: Set[str]
) -> dict[str, Any]:
    """What became of it by now; `gone` are recordings of which nothing is left."""
    redacted = redactor.redacted(row, gone=gone)
    if redacted is not row or row["status"] != "kept":
        return dict(redacted)
    fate = {"status": "dropped", "tier": None, "transform": "select"}
    tombstone = withdrawn.of(row) if withdrawn else None
    if tombstone is not None:
        return {**row, **fate, "reason": f"{tombstone.reason}: {tombstone.told}", "reasons": [tombstone.reason]}
    if row["key"] not in seen:
        return {**row, **fate, "reason": "selection: not in it", "reasons": ["selection"]}
    return {**row, "tier": seen[row["key"]]}
