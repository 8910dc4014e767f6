"""Hours in = hours kept + dropped + failed, by language and by reason; checked in every run."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.ledger import RecordingFact

STATUSES = ("kept", "dropped", "failed")
TOLERANCE_SECONDS = 0.001
"""A recording: less than a sample of 48 kHz audio a segment, for the rounding of sums."""


def funnel(recordings: Sequence[RecordingFact], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What came in, what stayed, and why the rest did not; `rows` are those of the ledger.

    A lost or doubled segment, or hours that do not add up, is a mistake of ours: AssertionError.
    """
    check(recordings, rows)
    total: dict[str, float] = dict.fromkeys(STATUSES, 0.0)
    by_language: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(STATUSES, 0.0))
    by_tier: dict[str, float] = defaultdict(float)
    reasons: dict[str, dict[str, Any]] = {}
    for row in rows:
        hours = row["item_seconds"] / 3600
        total[row["status"]] += hours
        by_language[row["language"] or row["given_language"] or "unknown"][row["status"]] += hours
        if row["status"] == "kept":
            by_tier[row["tier"]] += hours
        for number, name in enumerate(row["reasons"]):
            entry = reasons.setdefault(
                name, {"status": row["status"], "items": 0, "first": 0.0, "any": 0.0, "only": 0.0}
            )
            entry["any"] += hours
            entry["first"] += hours * (number == 0)
            entry["only"] += hours * (len(row["reasons"]) == 1)
            entry["items"] += number == 0
    speech = sum(fact.speech_seconds for fact in recordings)
    failed = {row["recording"] for row in rows if row["status"] == "failed"}
    return {
        "recordings": len(recordings),
        "recordings_failed": len(failed),
        "segments": sum(fact.segments for fact in recordings),
        "segments_kept": sum(row["status"] == "kept" for row in rows),
        "hours": {"in": sum(fact.seconds for fact in recordings) / 3600, **total},
        "speech_coverage": sum(fact.speech_covered for fact in recordings) / speech if speech else None,
        "by_language": {name: {"in": sum(hours.values()), **hours} for name, hours in sorted(by_language.items())},
        "by_tier": dict(sorted(by_tier.items())),
        "by_reason": dict(sorted(reasons.items(), key=lambda item: -item[1]["first"])),
    }


def check(recordings: Sequence[RecordingFact], rows: Sequence[Mapping[str, Any]]) -> None:
    """Every segment has one fate, and the fates of a recording add up to it."""
    seconds: dict[str, float] = defaultdict(float)
    segments: dict[str, int] = defaultdict(int)
    for row in rows:
        seconds[row["recording"]] += row["item_seconds"]
        segments[row["recording"]] += row["key"] is not None
        assert row["status"] in STATUSES, f"{row['recording']}: a fate of {row['status']}"
        assert (row["status"] == "kept") != bool(row["reasons"]), (
            f"{row['recording']}: {row['status']} without a reason"
        )
    met: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    for fact in recordings:
        met[fact.name][0] += fact.seconds
        met[fact.name][1] += fact.segments
    assert set(seconds) <= set(met), "a segment of a recording that was never met"
    for name, (expected, count) in met.items():
        assert segments[name] == count, f"{name}: {count} segments were cut, but {segments[name]} have a fate"
        off = abs(seconds[name] - expected)
        assert off <= TOLERANCE_SECONDS, (
            f"{name}: {expected:.4f} s came in, but {seconds[name]:.4f} s are accounted for"
        )


def table(facts: Mapping[str, Any]) -> str:
    """The funnel for people, in plain text."""
    hours = facts["hours"]
    whole = hours["in"] or 1.0
    lines = [f"{'hours in':<28}{duration(hours['in']):>12}   {facts['recordings']} recordings"]
    lines += [f"  {'kept':<26}{duration(hours['kept']):>12}   {hours['kept'] / whole:6.1%}"]
    lines[-1] += f"   {facts['segments_kept']} of {facts['segments']} segments"
    for status in ("dropped", "failed"):
        lines.append(f"  {status:<26}{duration(hours[status]):>12}   {hours[status] / whole:6.1%}")
        found = [
            (name, entry) for name, entry in facts["by_reason"].items() if entry["status"] == status and entry["items"]
        ]
        for name, entry in found:
            only = f", {duration(entry['only'])} by it alone" if entry["only"] < entry["first"] else ""
            lines.append(f"    {name:<24}{duration(entry['first']):>12}   {entry['items']} items{only}")
    lines.append("by language")
    for name, part in facts["by_language"].items():
        lines.append(f"  {name:<26}{duration(part['in']):>12}   kept {duration(part['kept'])}")
    if len(facts["by_tier"]) > 1 or "all" not in facts["by_tier"]:
        lines.append("by tier")
        lines += [f"  {name:<26}{duration(part):>12}" for name, part in facts["by_tier"].items()]
    return "\n".join(lines)


def duration(hours: float) -> str:
    """`12.3 s`, `4.1 min` or `56.7 h`."""
    if hours * 60 < 1:
        return f"{hours * 3600:.1f} s"
    return f"{hours * 60:.1f} min" if hours < 1 else f"{hours:,.1f} h"


def failed_share(facts: Mapping[str, Any]) -> float:
    """Share of the recordings that failed."""
    return float(facts["recordings_failed"]) / max(int(facts["recordings"]), 1)


def top_reasons(facts: Mapping[str, Any], *, count: int = 3) -> str:
    """The most frequent reasons, for a sentence."""
    ranked: Iterable[tuple[str, Any]] = sorted(facts["by_reason"].items(), key=lambda item: -item[1]["items"])
    return ", ".join(f"{name} ({entry['items']})" for name, entry in list(ranked)[:count]) or "none"
