"""From what became of the segments of a unit to rows of the ledger: the policy's verdicts, and the rights of today."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipelines.ledger import Fate, UnitResult
from pipelines.manifest import CorpusManifest
from pipelines.policy.select import Verdict, duplicate, judge
from pipelines.row import Segment, as_row, segment_of
from pipelines.units import Unit

Row = dict[str, Any]
Withheld = Callable[[Mapping[str, Any]], tuple[str, str] | None]
"""Why a row may not be kept, whatever its scores (`pipelines.policy.withheld`); None where it may."""
Elsewhere = Callable[[Mapping[str, Any]], bool]
"""Is the same sound kept with a transcript in place of this row (`pipelines.policy.transcribed`)?"""


def nowhere(row: Mapping[str, Any]) -> bool:
    """There is no copy."""
    return False


def judged(
    result: UnitResult,
    manifest: CorpusManifest,
    *,
    rights: Mapping[str, Row],
    withheld: Withheld,
    elsewhere: Elsewhere = nowhere,
    copies: Mapping[int, str] | None = None,
) -> Iterator[tuple[Fate, Row]]:
    """The fates of a unit and their rows of the ledger, in the order of recordings; `rights` from `rights_of`.

    `copies`: where a fate begins in the file of the unit -> of which earlier copy it is a duplicate.
    """
    for fate in in_order_of_recordings(result):
        if fate.segment is None:
            row, decided = row_of(fate, corpus=manifest.name, rights=rights), by_transform(fate)
        else:
            segment = segment_in(fate, corpus=manifest.name, rights=rights)
            row = as_row(segment)
            if fate.status != "ready":
                decided = by_transform(fate)
            elif (why := withheld(row)) is not None:
                decided = by_policy(Verdict(None, (why[0],), why[1]))
            elif copy := (copies or {}).get(fate.place[0], ""):
                decided = by_policy(duplicate(copy))
            elif elsewhere(row):
                decided = by_policy(duplicate("the same bytes came with a transcript, under another name"))
            else:
                decided = by_policy(judge(segment, manifest))
        row["unit"], row["item_seconds"] = result.unit, fate.seconds
        row |= decided
        yield fate, row


def in_order_of_recordings(result: UnitResult) -> list[Fate]:
    """The fates of a unit, by recording and place in it."""
    return sorted(result.fates, key=lambda fate: (fate.recording, (fate.segment or {}).get("start_sample", -1)))


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
    if fate.segment is not None:
        return as_row(segment_in(fate, corpus=corpus, rights=rights))
    facts = {"recording": fate.recording, "license": fate.license, "language": fate.language, "source": fate.source}
    return {**facts, **rights.get(fate.recording, {}), "corpus": corpus, "key": None, "given_language": None}


def segment_in(fate: Fate, *, corpus: str, rights: Mapping[str, Row]) -> Segment:
    """The segment of a fate, as `row_of` tells it."""
    assert fate.segment is not None
    return segment_of({**fate.segment, "corpus": corpus, **rights.get(fate.recording, {})})


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
