"""From what became of the segments of a unit to rows of the ledger: the policy's verdicts, and the rights of today."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipelines.ledger import Fate, UnitResult
from pipelines.manifest import CorpusManifest
from pipelines.policy.select import Seen, Verdict, verdicts
from pipelines.row import as_row, segment_of
from pipelines.units import Unit

Row = dict[str, Any]
Withheld = Callable[[Mapping[str, Any]], tuple[str, str] | None]
"""Why a row may not be kept, whatever its scores (`pipelines.policy.withheld`); None where it may."""


def judged(
    result: UnitResult, manifest: CorpusManifest, *, rights: Mapping[str, Row], seen: Seen, withheld: Withheld
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
        decided = by_transform(fate) if verdict is None else by_policy(verdict)
        yield fate, row | {"unit": result.unit, "item_seconds": fate.seconds} | decided


def by_transform(fate: Fate) -> Row:
    """What the ledger says of a fate that a transform decided."""
    name = (fate.reason or "").split(":")[0]
    return {
        "status": fate.status, "reason": fate.reason, "reasons": [name], "tier": None, "transform": fate.transform,
    }  # fmt: skip


def by_policy(verdict: Verdict) -> Row:
    """What the ledger says of a segment that was ready."""
    status = "dropped" if verdict.tier is None else "kept"
    return {
        "status": status, "reason": verdict.detail or None, "reasons": list(verdict.reasons), "tier": verdict.tier,
        "transform": "select",
    }  # fmt: skip


def row_of(fate: Fate, *, corpus: str, rights: Mapping[str, Row]) -> Row:
    """The fields of a fate's segment; of a recording's fate, the few that it has. License and source are those of
    `rights` (`rights_of`) where it has them, whatever they were when the recording was annotated."""
    now = rights.get(fate.recording, {})
    if fate.segment is None:
        facts = {"recording": fate.recording, "license": fate.license, "language": fate.language}
        return {**facts, "source": fate.source, **now, "corpus": corpus, "key": None, "given_language": None}
    return as_row(segment_of({**fate.segment, "corpus": corpus, **now}))


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
