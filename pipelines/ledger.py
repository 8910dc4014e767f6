"""What became of every unit: one sealed file each, written whole by the worker that did it; resume reads their names.

In the work folder:
    plan.jsonl                      the units of the attempt at work, a line each (pipelines.planned)
    chains/<chain>.json             what the transforms of a chain were (pipelines.recipe), to tell what changes
    units/<unit>.<chain>.jsonl      the unit's fates, segments and costs (`UnitResult`), for one chain of transforms
    units/<unit>.<chain>.flac       the sound of its segments, one FLAC after another
    packed/                         shards as they are written; the next attempt finds them as they were left
In the corpus:
    ledger.parquet                  one row a fate (`LEDGER_COLUMNS`), and every score of the segments, kept or not
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from infra.manifest import canonical
from infra.storage import named, part_of, replacing, write_atomic
from pipelines.sealing import SoundFile
from pipelines.shards import CorpusError

PACKED = "packed"
LEDGER_COLUMNS = ("unit", "transform", "fingerprint", "status", "reason", "reasons", "tier", "item_seconds")
"""Beside the fields of the segment, which are empty where the fate is a whole recording's (then `key` is None).

`transform` is who decided (`select` for filters), `status` kept, dropped or failed, `reason` the first reason in full,
`reasons` the names of all of them."""

ROW_GROUP = 8192
"""Rows of the ledger that are in memory at a time, as they are written."""
BATCH = 2**18
"""Rows that are read at a time: with all columns some 300 MB, and tombstones are made ready for each."""


@dataclass(frozen=True)
class Sound:
    """A waveform of a segment, as FLAC in the unit's file of sound."""

    by: str
    """The transform that made it: `segment`, or one that changes waveforms."""
    offset: int
    flac_bytes: int


@dataclass(frozen=True)
class Array:
    """An array that goes with a segment, as .npy in the unit's file of sound."""

    name: str
    by: str
    """The transform that made it."""
    offset: int
    npy_bytes: int


@dataclass(frozen=True)
class Fate:
    """What became of a segment, or of a recording (or the part of one) that never became segments."""

    recording: str
    seconds: float
    status: str
    """`ready` (to be selected), `dropped` or `failed`."""
    transform: str
    """Who decided; of a segment that is ready, the last of the chain."""
    reason: str | None = None
    """`no_speech: the probability ...`: a name, and a detail for people."""
    language: str | None = None
    license: str = "unknown"
    source: str = ""
    segment: Mapping[str, Any] | None = None
    """The row of the segment (pipelines.row.as_row), without what is None."""
    sounds: tuple[Sound, ...] = ()
    """Its waveforms in the order in which they were made; the last one is the segment's."""
    arrays: tuple[Array, ...] = ()
    place: tuple[int, int] = (0, 0)
    """Offset and bytes of this fate in the unit's file, once it is there."""


@dataclass(frozen=True)
class RecordingFact:
    """A recording as it was met: what must come out again as the sum of its fates."""

    name: str
    seconds: float
    segments: int
    speech_seconds: float = 0.0
    speech_covered: float = 0.0


@dataclass
class UnitResult:
    """All that one unit gave."""

    unit: str
    chain: str
    fingerprints: dict[str, str] = field(default_factory=dict)
    """Transform -> its fingerprint, in the order of the chain."""
    recordings: list[RecordingFact] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)
    wall_seconds: dict[str, float] = field(default_factory=dict)
    """Transform -> seconds of wall time."""
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """Transform -> seconds of processor time, which a busy machine does not stretch."""
    gpu_seconds: dict[str, float] = field(default_factory=dict)
    """Transform -> seconds of wall time in which it held an accelerator."""
    audio_seconds: dict[str, float] = field(default_factory=dict)
    """Transform -> seconds of audio that it was run on: what is taken over from an earlier chain is not counted."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Transform -> {ok, dropped, failed} items that left it."""


def result_path(work: Path, *, unit: str, chain: str) -> Path:
    """Where the unit's result lies when the unit is final."""
    return work / "units" / f"{unit}.{chain}.jsonl"


def sound_path(work: Path, *, unit: str, chain: str) -> Path:
    """Where the FLACs of the unit's segments lie, one after another."""
    return work / "units" / f"{unit}.{chain}.flac"


PLAIN = ("unit", "chain", "fingerprints", "wall_seconds", "cpu_seconds", "gpu_seconds", "audio_seconds", "counts")


def save(work: Path, result: UnitResult, sound: SoundFile | Path) -> None:
    """Make the unit final: its sound (a file to share, where it is an earlier one) and its result, whole or not at all.

    Names are made durable when all units are done (`sync_folder`): a unit that loses one of them in a power cut is not
    final, and is done again.
    """
    if isinstance(sound, SoundFile):
        sound.begin()
    head: dict[str, Any] = {name: getattr(result, name) for name in PLAIN}
    head["fingerprints"] = list(result.fingerprints.items())  # a list, since it tells the order
    head["recordings"] = [asdict(fact) for fact in result.recordings]
    lines = [canonical(head), *(canonical(written(fate)) for fate in result.fates)]
    told, path = ("\n".join(lines) + "\n").encode(), result_path(work, unit=result.unit, chain=result.chain)
    if isinstance(sound, Path):
        share(sound, sound_path(work, unit=result.unit, chain=result.chain))
        write_atomic(path, told)
    else:
        sound.seal(path, told)


def share(source: Path, target: Path) -> None:
    """The same file under another name: a link where the disk can, else a copy; whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target)
    try:
        os.link(source, part)
    except OSError:
        with named(target):
            part.write_bytes(source.read_bytes())
    part.replace(target)


def written(fate: Fate) -> dict[str, Any]:
    """A fate as plain data, without what is empty."""
    facts = {name: value for name, value in vars(fate).items() if value not in (None, "", ()) and name != "place"}
    for name in ("sounds", "arrays"):
        if name in facts:
            facts[name] = [vars(stored) for stored in facts[name]]
    if fate.segment is not None:
        facts["segment"] = {name: value for name, value in fate.segment.items() if value is not None}
    return facts


def load(path: Path, *, only: Callable[[bytes], bool] | None = None) -> UnitResult:
    """The result of a final unit, from its file; of its fates, those in the lines for which `only` is true.

    Raises: CorpusError
    """
    try:
        head, *lines = path.read_bytes().splitlines(keepends=True)
        facts = json.loads(head)
        facts["recordings"] = [RecordingFact(**fact) for fact in facts["recordings"]]
        facts["fingerprints"] = dict(facts["fingerprints"])
        result, at = UnitResult(**facts), len(head)
        for line in lines:
            if only is None or only(line):
                result.fates.append(fate_of(line, place=(at, len(line))))
            at += len(line)
        return result
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorpusError(f"{path}: cannot be read ({error}); remove it and run again") from None


def fate_of(line: bytes, *, place: tuple[int, int]) -> Fate:
    """The fate in a line of a unit's file."""
    facts = json.loads(line)
    facts["sounds"] = tuple(Sound(**sound) for sound in facts.get("sounds", ()))
    facts["arrays"] = tuple(Array(**array) for array in facts.get("arrays", ()))
    return Fate(**facts, place=place)


def is_final(work: Path, *, unit: str, chain: str) -> bool:
    """Has this chain finished the unit?"""
    return all(path(work, unit=unit, chain=chain).is_file() for path in (result_path, sound_path))


def final_units(work: Path, *, chain: str) -> set[str]:
    """Units that this chain has finished, by the names of their files alone."""
    folder = work / "units"
    names = set(os.listdir(folder) if folder.is_dir() else [])
    units = {name.split(".")[0] for name in names if name.endswith(f".{chain}.jsonl")}
    return {unit for unit in units if f"{unit}.{chain}.flac" in names}


def failed_units(work: Path, *, reason: str | None = None) -> Iterator[UnitResult]:
    """Results of units, by any chain, in which something failed (for this reason, where one is named)."""
    for path in sorted((work / "units").glob("*.jsonl")):
        result = load(path)
        named = {(fate.reason or "").split(":")[0] for fate in result.fates if fate.status == "failed"}
        if named and reason in (None, *named):
            yield result


def ledger_schema() -> Any:
    """The columns of the ledger."""
    import pyarrow

    from pipelines.packing.parts import segment_columns

    text, number = pyarrow.string(), pyarrow.float64()
    types = {"reasons": pyarrow.list_(text), "item_seconds": number}
    return pyarrow.schema([*((name, types.get(name, text)) for name in LEDGER_COLUMNS), *segment_columns()])


def ledger_table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows of the ledger as a pyarrow.Table. Columns may be missing: those of segments where the fate is a whole
    recording's, and those that an older ledger lacks; what the ledger has no column for is left out.
    """
    schema = ledger_schema()
    empty = dict.fromkeys(schema.names)
    whole = (row if row.keys() >= empty.keys() else {**empty, **row} for row in rows)
    return arrow_table(map(itemgetter(*schema.names), whole), schema)


def arrow_table(rows: Iterable[Sequence[Any]], schema: Any) -> Any:
    """Rows, each with a value for every column in their order, as a pyarrow.Table; `Table.from_pylist`, which asks each
    row for each column, takes twice as long."""
    import pyarrow

    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pyarrow.array(column, item.type) for column, item in zip(columns, schema, strict=True)]
    return pyarrow.Table.from_arrays(arrays, schema=schema)


@contextmanager
def ledger_writer(path: Path) -> Iterator[Callable[[Any], None]]:
    """`ledger.parquet`, written as rows come: yields a function that takes a table of them (`ledger_table`), however
    many; the file is there when all are, and the same however they came."""
    import pyarrow
    from pyarrow import parquet

    schema = ledger_schema()
    waiting = schema.empty_table()
    with replacing(path) as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:

        def put(table: Any) -> None:
            nonlocal waiting
            waiting = pyarrow.concat_tables([waiting, table])
            while waiting.num_rows >= ROW_GROUP:
                writer.write_table(waiting.slice(0, ROW_GROUP).combine_chunks())
                waiting = waiting.slice(ROW_GROUP)

        yield put
        writer.write_table(waiting.combine_chunks())


def unreadable(path: Path, error: Exception) -> CorpusError:
    """What to say of a file of a finished corpus that is missing or torn."""
    return CorpusError(f"{path}: cannot be read ({error}); put a copy back, or build the corpus again")


def ledger_tables(root: Path, *names: str, rows: int | None = None) -> Iterator[Any]:
    """The ledger of the corpus in `root`, some rows at a time, as pyarrow.Tables: these columns in this order, without
    those that it lacks; all of them where none is named. One table comes at least.

    Raises: CorpusError
    """
    import pyarrow
    from pyarrow import parquet

    path = root / "ledger.parquet"
    try:
        with parquet.ParquetFile(path, memory_map=True) as file:
            stored = file.schema_arrow.names
            columns = [name for name in names or stored if name in stored]
            batches = file.iter_batches(rows or BATCH, columns=columns) if file.metadata.num_rows else ()
            schema = pyarrow.schema([file.schema_arrow.field(name) for name in columns])
            for batch in batches or [pyarrow.RecordBatch.from_pylist([], schema=schema)]:
                yield pyarrow.Table.from_batches([batch.select(columns)])
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise unreadable(path, error) from None


def read_ledger(root: Path) -> list[dict[str, Any]]:
    """The rows of the ledger of the corpus in `root`.

    Raises: CorpusError
    """
    import pyarrow
    from pyarrow import parquet

    try:
        rows: list[dict[str, Any]] = parquet.read_table(root / "ledger.parquet").to_pylist()
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise unreadable(root / "ledger.parquet", error) from None
    return rows
