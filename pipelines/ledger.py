"""What became of every unit: one sealed file each, written whole by the worker that did it; resume reads their names.

In the work folder:
    units/<unit>.<chain>.jsonl      the unit's fates, segments and costs (`UnitResult`), for one chain of transforms
    units/<unit>.<chain>.flac       the sound of its segments, one FLAC after another
    attempts/<unit>.<chain>         what was begun and did not end: a worker died there (`Attempts`)
In the corpus:
    ledger.parquet                  one row a fate (`LEDGER_COLUMNS`), and every score of the segments, kept or not
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infra.manifest import canonical
from infra.storage import write_atomic
from pipelines.shards import CorpusError

LEDGER_COLUMNS = ("unit", "transform", "fingerprint", "status", "reason", "reasons", "tier", "item_seconds")
"""Beside the fields of the segment, which are empty where the fate is a whole recording's (then `key` is None).

`transform` is who decided (`select` for filters), `status` kept, dropped or failed, `reason` the first reason in full,
`reasons` the names of all of them."""


ATTEMPTS = "attempts"
"""Folder of the attempts of the running job; those of an earlier one say nothing, since a person may have ended it."""


@dataclass(frozen=True)
class Fate:
    """What became of a segment, or of a recording (or the part of one) that never became segments."""

    recording: str
    seconds: float
    status: str
    """`ready` (to be selected), `dropped` or `failed`."""
    transform: str
    reason: str | None = None
    """`no_speech: the probability ...`: a name, and a detail for people."""
    language: str | None = None
    license: str = "unknown"
    segment: Mapping[str, Any] | None = None
    """The row of the segment (pipelines.row.as_row)."""
    offset: int = 0
    """Where its FLAC begins in the unit's file of sound."""
    flac_bytes: int = 0
    """0 where no sound was kept."""


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
    recordings: list[RecordingFact] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)
    wall_seconds: dict[str, float] = field(default_factory=dict)
    """Transform -> seconds of wall time."""
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """Transform -> seconds of processor time, which a busy machine does not stretch."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Transform -> {ok, dropped, failed} items that left it."""


def result_path(work: Path, *, unit: str, chain: str) -> Path:
    """Where the unit's result lies when the unit is final."""
    return work / "units" / f"{unit}.{chain}.jsonl"


def sound_path(work: Path, *, unit: str, chain: str) -> Path:
    """Where the FLACs of the unit's segments lie, one after another."""
    return work / "units" / f"{unit}.{chain}.flac"


def save(work: Path, result: UnitResult, sound: bytes) -> None:
    """Make the unit final: first its sound, then its result, each whole or not at all."""
    write_atomic(sound_path(work, unit=result.unit, chain=result.chain), sound)
    plain = ("unit", "chain", "wall_seconds", "cpu_seconds", "counts")
    head: dict[str, Any] = {name: getattr(result, name) for name in plain}
    head["recordings"] = [asdict(fact) for fact in result.recordings]
    lines = [canonical(head), *(canonical(asdict(fate)) for fate in result.fates)]
    write_atomic(result_path(work, unit=result.unit, chain=result.chain), "\n".join(lines) + "\n")


def load(work: Path, *, unit: str, chain: str) -> UnitResult:
    """The result of a final unit."""
    path = result_path(work, unit=unit, chain=chain)
    try:
        head, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        facts = [RecordingFact(**fact) for fact in head.pop("recordings")]
        return UnitResult(**head, recordings=facts, fates=[Fate(**line) for line in lines])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorpusError(f"{path}: cannot be read ({error}); remove it and run again") from None


def final_units(work: Path, *, chain: str) -> set[str]:
    """Units that this chain has finished, by the names of their files alone."""
    folder = work / "units"
    names = os.listdir(folder) if folder.is_dir() else []
    return {name.split(".")[0] for name in names if name.endswith(f".{chain}.jsonl")}


class Attempts:
    """What was begun on a unit: read after a worker died, to find the recording that kills."""

    LIMIT = 2
    """Times that a worker may die on a recording alone before the recording is given up."""

    def __init__(self, work: Path, *, unit: str, chain: str) -> None:
        self.path = work / ATTEMPTS / f"{unit}.{chain}"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        self.died = lines.count("unit")
        """Attempts on the whole unit that did not end."""
        self.deadly = {
            number
            for number in {int(line.split()[1]) for line in lines if line.startswith("begin ")}
            if lines.count(f"begin {number}") - lines.count(f"end {number}") >= self.LIMIT
        }
        """Numbers of the recordings, in the unit, that killed a worker twice while it had nothing else in hand."""

    def note(self, line: str) -> None:
        """Append a line and give it to the system, which keeps it when this process dies."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def close(self) -> None:
        """The unit is final."""
        self.path.unlink(missing_ok=True)


def write_ledger(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """`ledger.parquet`, from rows with LEDGER_COLUMNS and the fields of a segment."""
    import pyarrow
    from pyarrow import parquet

    from pipelines.writer import segment_columns, write_file

    text, number = pyarrow.string(), pyarrow.float64()
    types = {"reasons": pyarrow.list_(text), "item_seconds": number}
    schema = pyarrow.schema([*((name, types.get(name, text)) for name in LEDGER_COLUMNS), *segment_columns()])
    table = pyarrow.Table.from_pylist(list(rows), schema=schema)
    write_file(path, lambda part: parquet.write_table(table, part, compression="zstd"))


def read_ledger(root: Path) -> list[dict[str, Any]]:
    """The rows of the ledger of the corpus in `root`.

    Raises: CorpusError
    """
    import pyarrow
    from pyarrow import parquet

    try:
        rows: list[dict[str, Any]] = parquet.read_table(root / "ledger.parquet").to_pylist()
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise CorpusError(f"{root / 'ledger.parquet'}: cannot be read ({error})") from None
    return rows


def results(work: Path, units: Iterable[str], *, chain: str) -> Iterator[UnitResult]:
    """The results of these units, one at a time."""
    for unit in units:
        yield load(work, unit=unit, chain=chain)
