"""What a build tells of a corpus: numbers to whoever watches and to MLflow, the truth where it is known, pages."""

from collections.abc import Mapping
from typing import Any

from infra.storage import write_bytes, write_json
from infra.workflow.node import Job
from pipelines.assemble import Assembly
from pipelines.audit import write_audit
from pipelines.card import write_card
from pipelines.catalog import SUMMARY_SOURCES
from pipelines.funnel import costs_table, table
from pipelines.ledger import read_ledger
from pipelines.synthetic.truth import read_truth, score_against_truth
from pipelines.synthetic.truth import table as truth_table
from pipelines.unpacked import UnitSounds

EXAMPLES = 10
"""Clips to hear, and reasons to draw as curves."""

Facts = Mapping[str, Any]
"""What stands in funnel.json."""


def tell_numbers(job: Job, facts: Facts) -> None:
    """The funnel and the costs; as metrics, hours in, kept, dropped and failed, and the ten reasons that cost most."""
    for line in [*table(facts).splitlines(), *costs_table(facts).splitlines()]:
        job.say(line)
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


def show(job: Job, made: Assembly) -> None:
    """What a person can look at and hear: the audit page, the funnel, and a few clips."""
    folder, samples = job.out / "clips", made.examples.found
    sounds = UnitSounds(job.work, chain=made.chain.fingerprint)
    folder.mkdir(exist_ok=True)
    for unit, key in samples[:: max(len(samples) // EXAMPLES, 1)][:EXAMPLES]:
        write_bytes(folder / f"{key}.flac", sounds.of(unit, key) or b"")
    job.run.artifact(write_audit(job.out, sound_of=sounds))
    job.run.artifact(write_card(job.out))
    job.run.artifact(folder)
    job.run.artifact(job.out / "funnel.json")


def summary_of(card: Facts, facts: Facts) -> dict[str, Any]:
    """The few facts worth a line: of corpus.json (`card`) and funnel.json (`facts`)."""
    hours = facts["hours"]
    return {
        "samples": card["samples"],
        "hours": round(hours["kept"], 6),
        **{f"hours_{name}": round(hours[name], 6) for name in ("in", "dropped", "failed")},
        "recordings": facts["recordings"],
        "recordings_failed": facts["recordings_failed"],
        "shards": len(card["shards"]),
        "languages": sorted(name for name, part in facts["by_language"].items() if part["kept"]),
        "licenses": card["licenses"],
        "sources": sorted(name for name, part in facts["by_source"].items() if part["kept"])[:SUMMARY_SOURCES],
    }
