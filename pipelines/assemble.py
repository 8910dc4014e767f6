"""From annotations to a corpus, unit by unit: fates judged, ledger written, hours summed, samples noted.

What stays in memory of a segment is where it lies (pipelines.unpacked), not what it is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.workflow.node import Job
from pipelines.chain import Chain
from pipelines.funnel import Funnel
from pipelines.judging import Row, Withheld, given_of, judged, row_of
from pipelines.ledger import UnitResult, ledger_writer, result_path, results
from pipelines.manifest import CorpusManifest
from pipelines.planned import Planned
from pipelines.policy.erasing import erase
from pipelines.policy.new_intervals import NewIntervals
from pipelines.policy.redaction import Redactor
from pipelines.policy.repeated import repeated_keys
from pipelines.policy.select import Seen, nowhere
from pipelines.policy.tombstones import Tombstone, read_tombstones, store_list, store_of
from pipelines.policy.transcribed import told_elsewhere
from pipelines.policy.withheld import withholding
from pipelines.units import Unit, rights_of
from pipelines.unpacked import KeptSamples

MOST_SPREAD = 512
COSTS = ("wall_seconds", "cpu_seconds", "gpu_seconds", "audio_seconds")


@dataclass
class Spread:
    """Rows that lie evenly among all that came, in order: some hundreds of them, however many came."""

    rows: list[Row] = field(default_factory=list)
    every: int = 1
    count: int = 0

    def add(self, row: Row) -> None:
        """One more came."""
        if self.count % self.every == 0:
            self.rows.append(row)
        self.count += 1
        if len(self.rows) > MOST_SPREAD:
            self.rows, self.every = self.rows[::2], self.every * 2


@dataclass
class Assembly:
    """What the units have given together, so far."""

    work: Path
    manifest: CorpusManifest
    chain: Chain
    tombstones: Sequence[Tombstone]
    """Of the store, for all of its corpora."""
    withheld: Withheld
    seen: Seen
    funnel: Funnel = field(init=False)
    redactor: Redactor = field(init=False)
    new_intervals: NewIntervals = field(init=False)
    samples: KeptSamples = field(init=False)
    """Those that are kept."""
    examples: Spread = field(default_factory=Spread)
    """Rows of some of them."""
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    keys_down: set[str] = field(default_factory=set)
    """Segments that were taken down, and the units that hold them."""
    units_down: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.funnel = Funnel([*self.chain.specs, "select"])
        self.samples = KeptSamples(self.work, corpus=self.manifest.name, chain=self.chain.fingerprint)
        self.redactor = Redactor(self.tombstones, self.manifest.name)
        self.new_intervals = NewIntervals(self.tombstones, self.manifest.name)

    def facts(self) -> dict[str, Any]:
        """What stands in funnel.json: hours and why, costs, and the manifest."""
        return {**self.funnel.facts(), "costs": self.costs, "manifest": self.manifest.model_dump(mode="json")}

    def add(self, unit: Unit, result: UnitResult) -> list[Mapping[str, Any]]:
        """Take up a unit. Returns its rows of the ledger."""
        rights, given = rights_of(unit.recordings), given_of(unit)
        judgements = list(judged(result, self.manifest, rights=rights, seen=self.seen, withheld=self.withheld))
        gone = self.redactor.recordings_taken_down(row for _, row in judgements)
        written, rows = [], []
        for fate, row in judgements:
            row |= given[row["recording"]] if row["key"] is None else {}
            row["fingerprint"] = self.chain.fingerprints.get(row["transform"], self.chain.fingerprint)
            redacted = self.redactor.redacted(row, gone=gone)
            written.append(redacted)
            rows.append({**redacted, "recording": row["recording"]})
            if redacted is not row:
                self.note_taken_down(row, unit=result.unit)
            elif fate.sounds and row["tier"] is not None:
                self.samples.add(fate, row, unit=result.unit, rights=rights.get(fate.recording, {}))
                self.examples.add(row)
        self.funnel.add(result.recordings, rows)
        add_costs(self.costs, result)
        return written

    def note_taken_down(self, row: Row, *, unit: str) -> None:
        """A row of which the ledger does not tell what it was."""
        if row["key"] is not None:
            self.new_intervals.add(row)
            self.keys_down.add(row["key"])
            self.units_down.add(unit)


def assemble(job: Job, units: Planned, *, chain: Chain) -> Assembly:
    """Judge every fate, write the ledger, and sum up; a unit at a time, in the order of recordings.

    Of what was taken down, the ledger does not tell what it was, nobody can ask for its sound, and the work folder
    keeps neither.
    """
    assert isinstance(job.manifest, CorpusManifest)
    manifest, store = job.manifest, store_of(job.out)
    tombstones = read_tombstones(store_list(store)) if store is not None else []
    withheld = withholding(corpus=manifest.name, store=store, allow=manifest.allow)
    seen = Seen(
        has_transcribed_copy=transcribed_first(job.work, units, manifest, chain=chain.fingerprint, withheld=withheld),
        repeated=repeated_keys(result_path(job.work, unit=name, chain=chain.fingerprint) for name in units.names()),
    )
    made = Assembly(job.work, manifest, chain, tombstones, withheld, seen)
    with ledger_writer(job.out / "ledger.parquet") as put:
        for unit, result in with_results(job.work, units, chain=chain.fingerprint):
            for row in made.add(unit, result):
                put(row)
    if store is not None and (count := made.new_intervals.note(store)):
        job.say(f"{count} tombstones of this corpus name more recordings than before: noted for all of the store")
    if made.keys_down:
        erase(job.work, made.redactor.withdrawn, keys=made.keys_down, units=made.units_down)
    return made


def with_results(work: Path, units: Planned, *, chain: str) -> Iterable[tuple[Unit, UnitResult]]:
    """Each unit with what this chain made of it, read one at a time."""
    return zip(units, results(work, units.names(), chain=chain), strict=True)


def transcribed_first(
    work: Path, units: Planned, manifest: CorpusManifest, *, chain: str, withheld: Withheld
) -> Callable[[Mapping[str, Any]], bool]:
    """What says of a row whether its copy is to be kept in its place: where a recording came with a transcript and
    without, the copy with one."""

    def ready() -> Iterator[Row]:
        for unit, result in with_results(work, units, chain=chain):
            rights = rights_of(unit.recordings)
            found = (fate for fate in result.fates if fate.status == "ready")
            yield from (row_of(fate, corpus=manifest.name, rights=rights) for fate in found)

    both = 0 < units.with_text < units.recordings
    return told_elsewhere(ready, manifest, withheld=withheld) if both else nowhere


def add_costs(total: dict[str, dict[str, float]], result: UnitResult) -> None:
    """Transform -> seconds of wall, processor and accelerator time, audio heard, and what left it."""
    for name in sorted({*result.wall_seconds, *result.counts}):
        told = {cost: getattr(result, cost).get(name, 0.0) for cost in COSTS}
        entry = total.setdefault(name, {})
        for key, value in {**told, **result.counts.get(name, {})}.items():
            entry[key] = entry.get(key, 0) + value
