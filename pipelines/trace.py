"""Where a sample comes from, and what came of a recording: over all corpora of a store."""

import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from infra.digests import file_digest
from infra.storage import read_json
from pipelines.ledger import unreadable
from pipelines.packing.layout import PACK, index_name, shard_path
from pipelines.policy.licenses import terms_of
from pipelines.policy.scored import schema_of
from pipelines.policy.tombstones import tombstones_of
from pipelines.policy.withdrawn import NEEDED, Withdrawn
from pipelines.shards import CorpusError, read_card

KEY = re.compile(r"[0-9a-f]{26}")
SHA256 = re.compile(r"[0-9a-f]{64}")
WANTED = ("key", "recording", "recording_sha256", "pcm_sha256", "source")
"""Columns that a word is looked for in."""
TOLD = (*NEEDED, "pcm_sha256", "license", "seconds", "status", "tier", "reason", "transform", "fingerprint", "unit")


@dataclass(frozen=True)
class Trace:
    """One segment, or what became of a whole recording, in one corpus."""

    corpus: str
    """`name@digest`."""
    root: str
    run: str | None
    """The MLflow run that built the corpus."""
    key: str | None
    """None for a recording of which nothing became a segment."""
    recording: str
    recording_sha256: str | None
    pcm_sha256: str | None
    start_seconds: float | None
    end_seconds: float | None
    rate_hz: int | None
    license: str
    terms: tuple[str, ...]
    source: str | None
    speaker: str | None
    fingerprint: str | None
    """Of the chain that made it, or of the transform that gave it up."""
    unit: str | None
    fate: str
    """`kept`, `dropped` or `failed`."""
    tier: str | None
    reason: str | None
    shard: str | None
    """The file that holds it."""
    tombstone: str | None
    """Why readers do not see it."""


def words_of(word: str) -> list[str]:
    """What a word may stand for in a ledger: of a file, its hash, that of its samples, and the key in its name."""
    path = Path(word)
    if not path.is_file():
        return [word]
    found = [file_digest(path)]
    if KEY.fullmatch(path.stem):
        found.append(path.stem)
    pcm = pcm_digest(path)
    return [*found, pcm] if pcm else found


def pcm_digest(path: Path) -> str | None:
    """The hash of the samples, as the transform `fingerprint` takes it; None for what is no sound that we read."""
    import soundfile

    try:
        samples_SC, rate_hz = soundfile.read(io.BytesIO(path.read_bytes()), dtype="int16", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError):
        return None
    if samples_SC.shape[1] != 1:
        return None
    return hashlib.sha256(f"{rate_hz}:".encode() + samples_SC.astype("<i2").tobytes()).hexdigest()


def trace(word: str, roots: Iterable[Path]) -> list[Trace]:
    """Everything that the word names, in these corpora; corpora without a ledger are left out."""
    words = words_of(word)
    found: list[Trace] = []
    for root in roots:
        try:
            found += traced(root, words)
        except CorpusError:
            continue
    return found


def traced(root: Path, words: Sequence[str]) -> list[Trace]:
    """What the words name in one corpus.

    Raises: CorpusError
    """
    import pyarrow
    from pyarrow import dataset

    card, stored = read_card(root), schema_of(root).names
    columns = [name for name in TOLD if name in stored]
    names = [name for name in WANTED if name in stored]
    asked = dataset.field(names[0]).isin(list(words))
    for name in names[1:]:
        asked = asked | dataset.field(name).isin(list(words))
    try:
        table = dataset.dataset(root / "ledger.parquet", format="parquet").to_table(columns=columns, filter=asked)
    except (OSError, pyarrow.ArrowException) as error:
        raise unreadable(root / "ledger.parquet", error) from None
    if not table.num_rows:
        return []
    withdrawn = Withdrawn(tombstones_of(root), card["name"])
    shards = shards_of(root, [key for key in table["key"].to_pylist() if key])
    run = (read_json(root.parent / "COMMIT.json") or {}).get("run")
    rows = sorted(table.to_pylist(), key=lambda row: (row["recording"], row["start_sample"] or 0))
    return [trace_of(row, card=card, root=root, run=run, withdrawn=withdrawn, shards=shards) for row in rows]


def shards_of(root: Path, keys: Sequence[str]) -> dict[str, str]:
    """Key -> the file that holds it, of those that a corpus keeps."""
    import pyarrow
    from pyarrow import dataset

    packs = [root / index_name(pack) for pack in range(-(-len(read_card(root)["shards"]) // PACK))]
    asked = dataset.field("key").isin(pyarrow.array(keys, pyarrow.string()))
    table = dataset.dataset(packs, format="parquet").to_table(columns=["key", "shard"], filter=asked)
    return dict(zip(table["key"].to_pylist(), map(shard_path, table["shard"].to_pylist()), strict=True))


def trace_of(
    row: dict[str, Any],
    *,
    card: dict[str, Any],
    root: Path,
    run: str | None,
    withdrawn: Withdrawn,
    shards: dict[str, str],
) -> Trace:
    """One row of a ledger."""
    tombstone = withdrawn.of(row) if withdrawn and row["key"] else None
    rate_hz = row["rate_hz"]
    kept = row["status"] == "kept"
    return Trace(
        corpus=f"{card['name']}@{card['digest']}",
        root=str(root),
        run=run,
        key=row["key"],
        recording=row["recording"],
        recording_sha256=row["recording_sha256"],
        pcm_sha256=row.get("pcm_sha256"),
        start_seconds=row["start_sample"] / rate_hz if rate_hz else None,
        end_seconds=row["end_sample"] / rate_hz if rate_hz else None,
        rate_hz=rate_hz,
        license=row["license"],
        terms=tuple(sorted(terms_of(row["license"] or "unknown"))),
        source=row["source"],
        speaker=row["given_speaker"] or row["speaker"],
        fingerprint=row["fingerprint"],
        unit=row["unit"],
        fate=row["status"],
        tier=row["tier"],
        reason=row["reason"],
        shard=shards.get(row["key"]) if kept else None,
        tombstone=f"{tombstone.reason}: {tombstone.told}, by {tombstone.who}" if tombstone else None,
    )


def table(found: Sequence[Trace]) -> str:
    """For people: a block a recording and corpus, a line a segment."""
    lines: list[str] = []
    for _, group in groupby(found, key=lambda item: (item.root, item.recording)):
        items = list(group)
        known = next((item for item in items if item.recording_sha256 is not None), items[0])
        lines += [*([""] if lines else []), *head_of(known)]
        for item in items:
            when = "the whole, or the rest of it" if item.start_seconds is None else ""
            when = when or f"{item.start_seconds:.3f} to {item.end_seconds:.3f} s"
            fate = f"kept as {item.tier}, {item.shard}" if item.fate == "kept" else f"{item.fate}: {item.reason}"
            hidden = f"; hidden, {item.tombstone}" if item.tombstone else ""
            lines.append(f"  {item.key or '-':<26}  {when:<24}  {fate}{hidden}")
    return "\n".join(lines)


def head_of(item: Trace) -> list[str]:
    """What all segments of a recording share."""
    return [
        item.recording,
        f"  sha256      {item.recording_sha256 or 'not known'}",
        f"  source      {item.source or 'not known'}",
        f"  license     {item.license} (terms: {' '.join(item.terms) or 'none'})",
        f"  corpus      {item.corpus}, {item.root}",
        f"  run         {item.run or 'not known'}, chain {item.fingerprint}, unit {item.unit}",
    ]


def facts(found: Sequence[Trace]) -> list[dict[str, Any]]:
    """As plain data."""
    return [asdict(item) for item in found]
