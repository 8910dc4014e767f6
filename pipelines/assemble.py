"""From annotations to what a corpus folder tells: fates judged, costs summed, the truth, the page, clips to hear."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.storage import write_json
from infra.workflow.node import Job
from pipelines.audit import write_audit
from pipelines.chain import Chain
from pipelines.ledger import Fate, UnitResult, sound_path
from pipelines.manifest import CorpusManifest
from pipelines.select import verdicts
from pipelines.truth import read_truth, score_against_truth
from pipelines.truth import table as truth_table
from pipelines.writer import Item

EXAMPLES = 10
"""Clips to hear, and reasons to draw as curves."""


@dataclass
class Annotated:
    """A fate, and where its sound lies."""

    fate: Fate
    unit: str
    sound: Path


def judged(
    found: Sequence[UnitResult], chain: Chain, manifest: CorpusManifest, *, work: Path
) -> tuple[list[dict[str, Any]], list[Item]]:
    """The ledger's rows, and the samples that are kept: in the order of recordings, whoever worked on them."""
    fates = [Annotated(f, r.unit, sound_path(work, unit=r.unit, chain=r.chain)) for r in found for f in r.fates]
    fates.sort(key=lambda item: (item.fate.recording, (item.fate.segment or {}).get("start_sample", -1)))
    ready = [item for item in fates if item.fate.status == "ready"]
    segments = [item.fate.segment or {} for item in ready]
    verdict_of = dict(zip(map(id, ready), verdicts(segments, manifest), strict=True))
    rows, items = [], []
    for item in fates:
        fate, verdict = item.fate, verdict_of.get(id(item))
        empty = {"recording": fate.recording, "license": fate.license, "language": fate.language}
        row: dict[str, Any] = {**(fate.segment or empty), "unit": item.unit, "item_seconds": fate.seconds}
        row.setdefault("key", None)
        row.setdefault("given_language", None)
        if verdict is None:
            name = (fate.reason or "").split(":")[0]
            row |= {"status": fate.status, "reason": fate.reason, "reasons": [name], "tier": None}
            row |= {"transform": fate.transform, "fingerprint": chain.fingerprints[fate.transform]}
        else:
            status = "dropped" if verdict.tier is None else "kept"
            row |= {"status": status, "reason": verdict.detail or None, "reasons": list(verdict.reasons)}
            row |= {"tier": verdict.tier, "transform": "select", "fingerprint": chain.fingerprint}
            if verdict.tier is not None:
                segment = fate.segment or {}
                items.append(Item(segment, verdict.tier, item.sound, fate.offset, fate.flac_bytes))
        rows.append(row)
    return rows, items


def costs(found: Sequence[UnitResult]) -> dict[str, dict[str, float]]:
    """Transform -> seconds of wall and processor time, and what left it: ok, dropped, failed."""
    total: dict[str, dict[str, float]] = {}
    for result in found:
        for name in result.wall_seconds:
            told = {"wall_seconds": result.wall_seconds[name], "cpu_seconds": result.cpu_seconds[name]}
            entry = total.setdefault(name, {})
            for key, value in {**told, **result.counts.get(name, {})}.items():
                entry[key] = entry.get(key, 0) + value
    return total


def tell_metrics(job: Job, facts: Mapping[str, Any]) -> None:
    """Hours in, kept, dropped, failed; and by reason, the ten that cost most."""
    metrics = {f"hours/{name}": hours for name, hours in facts["hours"].items()}
    reasons = list(facts["by_reason"].items())[:EXAMPLES]
    metrics |= {f"{entry['status']}_hours/{name}": entry["first"] for name, entry in reasons}
    metrics |= {f"cpu_seconds/{name}": cost["cpu_seconds"] for name, cost in facts["costs"].items()}
    metrics |= {key: facts[key] for key in ("recordings", "recordings_failed", "segments", "segments_kept")}
    job.run.metrics(metrics, step=0)


def tell_truth(job: Job, rows: Sequence[Mapping[str, Any]]) -> None:
    """Where the truth of the recordings lies beside them (synthetic ones): how many were treated rightly."""
    truth = read_truth(job.inputs["recordings"].out)
    if truth is None:
        return
    report = score_against_truth(truth, rows)
    write_json(job.out / "truth_report.json", report)
    job.run.metrics({"truth/right": report["right"], "truth/all": report["all"]}, step=0)
    for line in truth_table(report).splitlines():
        job.say(line)


def show(job: Job, items: Sequence[Item], found: Sequence[UnitResult]) -> None:
    """What a person can look at and hear: the audit page, the funnel, and a few clips."""
    sounds = {
        str(fate.segment["key"]): (sound_path(job.work, unit=result.unit, chain=result.chain), fate)
        for result in found
        for fate in result.fates
        if fate.segment is not None and fate.flac_bytes
    }

    def sound_of(key: str) -> bytes | None:
        if key not in sounds:
            return None
        path, fate = sounds[key]
        with path.open("rb") as file:
            return os.pread(file.fileno(), fate.flac_bytes, fate.offset)

    folder = job.out / "clips"
    folder.mkdir(exist_ok=True)
    for item in items[:: max(len(items) // EXAMPLES, 1)][:EXAMPLES]:
        key = str(item.row["key"])
        (folder / f"{key}.flac").write_bytes(sound_of(key) or b"")
    job.run.artifact(write_audit(job.out, sound_of=sound_of))
    job.run.artifact(folder)
    job.run.artifact(job.out / "funnel.json")
