"""From annotations to a corpus, unit by unit: fates judged, the ledger written, hours summed, samples placed.

What stays in memory of a segment is where it lies (about 0.3 kB), not what it is.
"""

import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infra.storage import write_json
from infra.workflow.node import Job
from pipelines.audit import write_audit
from pipelines.card import write_card
from pipelines.chain import Chain
from pipelines.funnel import Funnel
from pipelines.ledger import (
    Array,
    Fate,
    UnitResult,
    fate_of,
    ledger_writer,
    read_ledger,
    result_path,
    results,
    sound_path,
)
from pipelines.manifest import CorpusManifest
from pipelines.packing.writer import record_of
from pipelines.policy.erasing import erase
from pipelines.policy.new_intervals import NewIntervals
from pipelines.policy.redaction import Redactor
from pipelines.policy.select import Seen, Verdict, verdicts
from pipelines.policy.tombstones import read_tombstones, store_list, store_of
from pipelines.policy.transcribed import told_elsewhere
from pipelines.policy.withheld import withholding
from pipelines.row import as_row, segment_of
from pipelines.synthetic.truth import read_truth, score_against_truth
from pipelines.synthetic.truth import table as truth_table
from pipelines.units import Unit, rights_of

EXAMPLES = 10
"""Clips to hear, and reasons to draw as curves."""
KEY_BYTES = 26
COSTS = ("wall_seconds", "cpu_seconds", "gpu_seconds", "audio_seconds")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A sample to be packed: where its row and its sound lie in the files of its unit."""

    key: str
    tier: str
    corpus: str
    rights: Row
    """License and source, as the catalog tells them now."""
    record_bytes: int
    result: Path
    place: tuple[int, int]
    file: Path
    offset: int
    flac_bytes: int
    placed: tuple[Array, ...] = ()

    @property
    def arrays(self) -> dict[str, tuple[int, int]]:
        """Name -> where the bytes of its .npy lie in `file`."""
        return {array.name: (array.offset, array.npy_bytes) for array in self.placed}

    @property
    def row(self) -> Row:
        """All fields of its segment, read from the unit's result."""
        with self.result.open("rb") as file:
            line = os.pread(file.fileno(), self.place[1], self.place[0])
        fate = fate_of(line, place=self.place)
        return row_of(fate, corpus=self.corpus, rights={fate.recording: self.rights})


@dataclass
class Sounds:
    """Where the sound of every segment lies, by its key; a few dozen bytes each."""

    files: list[Path] = field(default_factory=list)
    keys: bytearray = field(default_factory=bytearray)
    places: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, key: str, file: Path, *, offset: int, flac_bytes: int) -> None:
        """The FLAC of `key` lies there."""
        if not self.files or self.files[-1] != file:
            self.files.append(file)
        assert len(key) == KEY_BYTES, f"{key!r} is no key of a segment"
        self.keys += key.encode()
        self.places.extend((len(self.files) - 1, offset, flac_bytes))

    def __call__(self, key: str) -> bytes | None:
        """The FLAC of a segment; None where none was kept."""
        wanted, at = key.encode(), -1
        while (at := self.keys.find(wanted, at + 1)) % KEY_BYTES:
            if at < 0:
                return None
        number, offset, count = self.places[at // KEY_BYTES * 3 : at // KEY_BYTES * 3 + 3]
        with self.files[number].open("rb") as file:
            return os.pread(file.fileno(), count, offset)


@dataclass
class Assembled:
    """What the units gave together."""

    items: list[Kept]
    """The samples that are kept, in the order of recordings, whoever worked on them."""
    sounds: Sounds
    facts: dict[str, Any]
    """The funnel, and the costs."""


def assemble(job: Job, units: Sequence[Unit], *, chain: Chain) -> Assembled:
    """Judge every fate, write the ledger, and sum up; a unit at a time, in the order of recordings.

    Of what was taken down, the ledger does not tell what it was, nobody can ask for its sound, and the work folder
    keeps neither.
    """
    assert isinstance(job.manifest, CorpusManifest)
    manifest = job.manifest
    funnel, sounds, items = Funnel([*chain.steps, "select"]), Sounds(), list[Kept]()
    costs: dict[str, dict[str, float]] = {}
    ids, store = [unit.id for unit in units], store_of(job.out)
    why = withholding(corpus=manifest.name, store=store, allow=manifest.allow)
    tombstones = read_tombstones(store_list(store)) if store is not None else []
    redactor, new = Redactor(tombstones, manifest.name), NewIntervals(tombstones, manifest.name)
    keys_gone, units_gone = set[str](), set[str]()

    def ready() -> Iterator[Row]:
        for unit, result in zip(units, results(job.work, ids, chain=chain.fingerprint), strict=True):
            rights = rights_of(unit.recordings)
            found = (fate for fate in result.fates if fate.status == "ready")
            yield from (row_of(fate, corpus=manifest.name, rights=rights) for fate in found)

    ways = {recording.text is not None for unit in units for recording in unit.recordings}
    seen = Seen(told_elsewhere(ready, manifest, withheld=why)) if len(ways) > 1 else Seen()
    with ledger_writer(job.out / "ledger.parquet") as put:
        for unit, result in zip(units, results(job.work, ids, chain=chain.fingerprint), strict=True):
            rights = rights_of(unit.recordings)
            rows, fates = [], list(judged(result, manifest, rights=rights, seen=seen, withheld=why))
            gone, given = redactor.recordings_taken_down(row for _, row in fates), given_of(unit)
            for fate, row in fates:
                row |= given[row["recording"]] if row["key"] is None else {}
                row["fingerprint"] = chain.fingerprints.get(row["transform"], chain.fingerprint)
                redacted = redactor.redacted(row, gone=gone)
                if redacted is not row and row["key"] is not None:
                    new.add(row)
                    keys_gone.add(row["key"])
                    units_gone.add(result.unit)
                rows.append({**redacted, "recording": row["recording"]})
                if fate.sounds and redacted is row:
                    file = sound_path(job.work, unit=result.unit, chain=result.chain)
                    place = {"offset": fate.sounds[-1].offset, "flac_bytes": fate.sounds[-1].flac_bytes}
                    sounds.add(row["key"], file, **place)
                    if row["tier"] is not None:
                        told = rights.get(fate.recording, {})
                        items.append(kept(fate, row, result, file, corpus=manifest.name, rights=told, work=job.work))
                put(redacted)
            funnel.add(result.recordings, rows)
            add_costs(costs, result)
    if store is not None and (count := new.note(store)):
        job.say(f"{count} tombstones of this corpus name more recordings than before: noted for all of the store")
    if keys_gone:
        erase(job.work, redactor.withdrawn, keys=keys_gone, units=units_gone)
    return Assembled(items, sounds, {**funnel.facts(), "costs": costs, "manifest": manifest.model_dump(mode="json")})


def judged(
    result: UnitResult,
    manifest: CorpusManifest,
    *,
    rights: Mapping[str, Row],
    seen: Seen,
    withheld: Callable[[Row], tuple[str, str] | None],
) -> Iterator[tuple[Fate, Row]]:
    """The fates of a unit and their rows of the ledger, in the order of recordings; `rights` from `rights_of`."""
    fates = sorted(result.fates, key=lambda fate: (fate.recording, (fate.segment or {}).get("start_sample", -1)))
    rows = [row_of(fate, corpus=manifest.name, rights=rights) for fate in fates]
    ready = [row for fate, row in zip(fates, rows, strict=True) if fate.status == "ready"]
    verdict_of = {id(row): Verdict(None, (why[0],), why[1]) for row in ready if (why := withheld(row)) is not None}
    allowed = [row for row in ready if id(row) not in verdict_of]
    verdict_of |= zip(map(id, allowed), verdicts(allowed, manifest, seen=seen), strict=True)
    for fate, row in zip(fates, rows, strict=True):
        verdict = verdict_of.get(id(row))
        row |= {"unit": result.unit, "item_seconds": fate.seconds}
        if verdict is None:
            name = (fate.reason or "").split(":")[0]
            row |= {"status": fate.status, "reason": fate.reason, "reasons": [name], "tier": None}
            row |= {"transform": fate.transform}
        else:
            status = "dropped" if verdict.tier is None else "kept"
            row |= {"status": status, "reason": verdict.detail or None, "reasons": list(verdict.reasons)}
            row |= {"tier": verdict.tier, "transform": "select"}
        yield fate, row


def row_of(fate: Fate, *, corpus: str, rights: Mapping[str, Row]) -> Row:
    """The fields of a fate's segment; of a recording's fate, the few that it has. License and source are those of
    `rights` (`rights_of`) where it has them, whatever they were when the recording was annotated."""
    now = rights.get(fate.recording, {})
    if fate.segment is None:
        facts = {"recording": fate.recording, "license": fate.license, "language": fate.language}
        return {**facts, "source": fate.source, **now, "corpus": corpus, "key": None, "given_language": None}
    return as_row(replace(segment_of(dict(fate.segment)), corpus=corpus, **now))


def given_of(unit: Unit) -> dict[str, Row]:
    """Recording -> the fields that the catalog tells of it, for those rows of the ledger that are no segments.

    So whoever was taken down is found in what failed, too. Of a file with several speakers, it is none of them.
    """
    found: dict[str, Row] = {}
    for recording in unit.recordings:
        facts = {"given_speaker": recording.speaker, "recording_sha256": recording.sha256}
        same = found.setdefault(recording.name, facts)["given_speaker"] == recording.speaker
        found[recording.name]["given_speaker"] = recording.speaker if same else None
    return found


def kept(fate: Fate, row: Row, result: UnitResult, file: Path, *, corpus: str, rights: Row, work: Path) -> Kept:
    """The sample, to be packed later."""
    segment = {name: row[name] for name in as_row(segment_of(row))}
    return Kept(
        key=row["key"],
        tier=row["tier"],
        corpus=corpus,
        rights=rights,
        record_bytes=len(record_of(segment, tier=row["tier"])),
        result=result_path(work, unit=result.unit, chain=result.chain),
        place=fate.place,
        file=file,
        offset=fate.sounds[-1].offset,
        flac_bytes=fate.sounds[-1].flac_bytes,
        placed=fate.arrays,
    )


def add_costs(total: dict[str, dict[str, float]], result: UnitResult) -> None:
    """Transform -> seconds of wall, processor and accelerator time, audio heard, and what left it."""
    for name in sorted({*result.wall_seconds, *result.counts}):
        told = {cost: getattr(result, cost).get(name, 0.0) for cost in COSTS}
        entry = total.setdefault(name, {})
        for key, value in {**told, **result.counts.get(name, {})}.items():
            entry[key] = entry.get(key, 0) + value


def tell_metrics(job: Job, facts: Mapping[str, Any]) -> None:
    """Hours in, kept, dropped, failed; and by reason, the ten that cost most."""
    metrics = {f"hours/{name}": hours for name, hours in facts["hours"].items()}
    reasons = list(facts["by_reason"].items())[:EXAMPLES]
    metrics |= {f"{entry['status']}_hours/{name}": entry["first"] for name, entry in reasons}
    metrics |= {f"cpu_seconds/{name}": cost["cpu_seconds"] for name, cost in facts["costs"].items()}
    metrics |= {key: facts[key] for key in ("recordings", "recordings_failed", "segments", "segments_kept")}
    job.run.metrics(metrics, step=0)


def tell_truth(job: Job) -> None:
    """Where the truth of the recordings lies beside them (synthetic ones): how many were treated rightly."""
    truth = read_truth(job.inputs["recordings"].out)
    if truth is None:
        return
    report = score_against_truth(truth, read_ledger(job.out))
    write_json(job.out / "truth_report.json", report)
    job.run.metrics({"truth/right": report["right"], "truth/all": report["all"]}, step=0)
    for line in truth_table(report).splitlines():
        job.say(line)


def show(job: Job, made: Assembled) -> None:
    """What a person can look at and hear: the audit page, the funnel, and a few clips."""
    folder = job.out / "clips"
    folder.mkdir(exist_ok=True)
    for item in made.items[:: max(len(made.items) // EXAMPLES, 1)][:EXAMPLES]:
        (folder / f"{item.key}.flac").write_bytes(made.sounds(item.key) or b"")
    job.run.artifact(write_audit(job.out, sound_of=made.sounds))
    job.run.artifact(write_card(job.out))
    job.run.artifact(folder)
    job.run.artifact(job.out / "funnel.json")
