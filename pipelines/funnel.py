"""Hours in = hours kept + dropped + failed, by source, language, transform and reason; checked in every run."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.log import counted
from pipelines.ledger import RecordingFact

STATUSES = ("kept", "dropped", "failed")
TOLERANCE_SECONDS = 0.001
"""A recording: less than a sample of 48 kHz audio a segment, for the rounding of sums."""
TICKS = 10**9
"""A second, as it is summed: sums of whole numbers are the same, however they are parted."""
MOST_SOURCES = 200
"""Sources that are told one by one; those of further ones are summed under `other`."""


def nothing() -> dict[str, int]:
    """No second of any status."""
    return dict.fromkeys(STATUSES, 0)


def parted() -> dict[str, dict[str, int]]:
    """Name -> status -> ticks."""
    return defaultdict(nothing)


@dataclass
class Funnel:
    """The sums, in ticks, taken up unit by unit; nothing of a unit is kept but numbers."""

    transforms: Sequence[str]
    """In the order of the chain; `select` is the last."""
    most_sources: int = MOST_SOURCES
    recordings: int = 0
    came_in: int = 0
    speech: int = 0
    covered: int = 0
    segments: int = 0
    segments_kept: int = 0
    recordings_failed: int = 0
    total: dict[str, int] = field(default_factory=nothing)
    by_language: dict[str, dict[str, int]] = field(default_factory=parted)
    by_source: dict[str, dict[str, int]] = field(default_factory=parted)
    by_transform: dict[str, dict[str, int]] = field(default_factory=parted)
    by_tier: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    reasons: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, recordings: Sequence[RecordingFact], rows: Sequence[Mapping[str, Any]]) -> None:
        """Take up a unit: its recordings as they were met, and its rows of the ledger.

        A lost or doubled segment, or hours that do not add up, is a mistake of ours: AssertionError.
        """
        check(recordings, rows)
        self.recordings += len(recordings)
        self.came_in += sum(ticks(fact.seconds) for fact in recordings)
        self.speech += sum(ticks(fact.speech_seconds) for fact in recordings)
        self.covered += sum(ticks(fact.speech_covered) for fact in recordings)
        self.segments += sum(fact.segments for fact in recordings)
        self.recordings_failed += len({row["recording"] for row in rows if row["status"] == "failed"})
        for row in rows:
            self.add_row(row)

    def add_row(self, row: Mapping[str, Any]) -> None:
        """One fate, into every sum."""
        amount, status = ticks(row["item_seconds"]), row["status"]
        self.total[status] += amount
        self.by_language[row["language"] or row["given_language"] or "unknown"][status] += amount
        source = row["source"] or "not stated"
        self.by_source[self.place_of(source)][status] += amount
        self.by_transform[row["transform"]][status] += amount
        if status == "kept":
            self.segments_kept += 1
            self.by_tier[row["tier"]] += amount
        for number, name in enumerate(row["reasons"]):
            entry = self.reasons.setdefault(name, {"status": status, "items": 0, "first": 0, "any": 0, "only": 0})
            entry["any"] += amount
            entry["first"] += amount * (number == 0)
            entry["only"] += amount * (len(row["reasons"]) == 1)
            entry["items"] += number == 0

    def place_of(self, source: str) -> str:
        """Under which name the hours of a source are summed."""
        return source if source in self.by_source or len(self.by_source) < self.most_sources else "other"

    def take(self, part: "Funnel") -> None:
        """Take up what another one has summed."""
        for name in ("recordings", "came_in", "speech", "covered", "segments", "segments_kept", "recordings_failed"):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        add_up(self.total, part.total)
        for cut, more in ((self.by_language, part.by_language), (self.by_transform, part.by_transform)):
            for name, amounts in more.items():
                add_up(cut[name], amounts)
        for name, amounts in part.by_source.items():
            add_up(self.by_source[self.place_of(name)], amounts)
        add_up(self.by_tier, part.by_tier)
        for name, entry in part.reasons.items():
            known = self.reasons.setdefault(name, {"status": entry["status"]})
            add_up(known, {key: value for key, value in entry.items() if key != "status"})

    def facts(self) -> dict[str, Any]:
        """What came in, what stayed, and why the rest did not, in hours.

        All ways of cutting the sum must give the same: AssertionError.
        """
        self.check_sums()
        reasons = {
            name: {key: in_hours(value) if key in ("first", "any", "only") else value for key, value in entry.items()}
            for name, entry in self.reasons.items()
        }
        return {
            "recordings": self.recordings,
            "recordings_failed": self.recordings_failed,
            "segments": self.segments,
            "segments_kept": self.segments_kept,
            "hours": {"in": in_hours(self.came_in), **hours_of(self.total)},
            "speech_coverage": self.covered / self.speech if self.speech else None,
            "by_language": with_hours_in(self.by_language),
            "by_source": with_hours_in(self.by_source),
            "by_transform": self.through(),
            "by_tier": {name: in_hours(amount) for name, amount in sorted(self.by_tier.items())},
            "by_reason": dict(sorted(reasons.items(), key=lambda item: -item[1]["first"])),
        }

    def through(self) -> dict[str, dict[str, float]]:
        """Transform -> hours that came to it, that it dropped and failed, and that left it."""
        left, found = in_hours(self.came_in), {}
        for name in self.transforms:
            parts = hours_of(self.by_transform[name])
            lost = parts["dropped"] + parts["failed"]
            found[name] = {"in": left, "dropped": parts["dropped"], "failed": parts["failed"], "out": left - lost}
            left -= lost
        return found

    def check_sums(self) -> None:
        """By language, source, transform, tier and first reason, the same hours are kept, dropped and failed."""
        allowed = ticks(TOLERANCE_SECONDS) * max(self.recordings, 1)
        for status in STATUSES:
            for name, cut in (
                ("language", self.by_language),
                ("source", self.by_source),
                ("transform", self.by_transform),
            ):
                assert abs(sum(part[status] for part in cut.values()) - self.total[status]) <= allowed, name
        first = sum(entry["first"] for entry in self.reasons.values())
        assert abs(first - self.total["dropped"] - self.total["failed"]) <= allowed, "by first reason"
        assert abs(sum(self.by_tier.values()) - self.total["kept"]) <= allowed, "by tier"
        assert abs(self.came_in - sum(self.total.values())) <= allowed, "hours in are not hours accounted for"
        strange = set(self.by_transform) - set(self.transforms)
        assert not strange, f"fates decided by {strange}, which are not in the chain"
        out = self.through()[self.transforms[-1]]["out"]
        assert abs(ticks(out * 3600) - self.total["kept"]) <= allowed, "what leaves the chain is not what is kept"


def add_up(sums: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Number by number."""
    for name, value in more.items():
        sums[name] = sums.get(name, 0) + value


def ticks(seconds: float) -> int:
    """As it is summed."""
    return round(seconds * TICKS)


def in_hours(amount: int) -> float:
    """Of a sum of ticks."""
    return amount / (3600 * TICKS)


def hours_of(amounts: Mapping[str, int]) -> dict[str, float]:
    """By status."""
    return {status: in_hours(amount) for status, amount in amounts.items()}


def with_hours_in(cut: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, float]]:
    """Name -> hours in, and by status."""
    return {name: {"in": in_hours(sum(part.values())), **hours_of(part)} for name, part in sorted(cut.items())}


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
    lines = [f"{'hours in':<28}{duration(hours['in']):>12}   {counted(facts['recordings'], 'recording')}"]
    lines += [f"  {'kept':<26}{duration(hours['kept']):>12}   {hours['kept'] / whole:6.1%}"]
    lines[-1] += f"   {facts['segments_kept']} of {facts['segments']} segments"
    for status in ("dropped", "failed"):
        lines.append(f"  {status:<26}{duration(hours[status]):>12}   {hours[status] / whole:6.1%}")
        found = [
            (name, entry) for name, entry in facts["by_reason"].items() if entry["status"] == status and entry["items"]
        ]
        for name, entry in found:
            only = f", {duration(entry['only'])} by it alone" if entry["only"] < entry["first"] else ""
            lines.append(f"    {name:<24}{duration(entry['first']):>12}   {counted(entry['items'], 'item')}{only}")
    for what in ("language", "source"):
        if len(facts[f"by_{what}"]) > 1 or what == "language":
            lines.append(f"by {what}")
            for name, part in facts[f"by_{what}"].items():
                lines.append(f"  {name[:26]:<26}{duration(part['in']):>12}   kept {duration(part['kept'])}")
    if len(facts["by_tier"]) > 1 or "all" not in facts["by_tier"]:
        lines.append("by tier")
        lines += [f"  {name:<26}{duration(part):>12}" for name, part in facts["by_tier"].items()]
    return "\n".join(lines)


def costs_table(facts: Mapping[str, Any]) -> str:
    """What every transform cost: processor (and accelerator) time, and how many times faster than sound it was."""
    lines = ["cost (seconds of processor time; how many times faster than the audio that it heard)"]
    for name, cost in sorted(facts["costs"].items(), key=lambda item: -item[1]["cpu_seconds"]):
        heard, spent = cost.get("audio_seconds", 0.0), cost["cpu_seconds"]
        speed = f"{heard / spent:>8,.0f} x" if spent > 0 and heard else ""
        gpu = f", {cost['gpu_seconds']:,.1f} s of GPU" if cost.get("gpu_seconds") else ""
        lines.append(f"  {name:<26}{spent:>10.1f} s {speed}{gpu}")
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
    """The most frequent reasons, for a sentence; pauses between segments are no decision."""
    reasons = [(name, entry) for name, entry in facts["by_reason"].items() if name != "between"]
    ranked = sorted(reasons, key=lambda item: -item[1]["items"])
    return ", ".join(f"{name} ({entry['items']})" for name, entry in ranked[:count]) or "none"
