"""What a policy would keep: hours by language, source and tier, and what each condition costs; no model is called."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.manifest import ManifestError
from pipelines.funnel import duration
from pipelines.policy.conditions import Condition, holds
from pipelines.policy.scored import Scored, hours_by, scored_parts, total_hours

GROUPS = {"language": "language_or_given", "source": "source", "tier": "tier"}
"""How the hours are told apart -> column; the tier is the one that the corpus was built with."""
SHOWN = 20
"""Groups of a kind that are printed, those of most hours first."""


def what_if(root: Path, *, kept: Condition, where: Condition | None = None) -> dict[str, Any]:
    """Hours that `kept` keeps of all segments that were scored (of those in `where`), and what it loses, and why.

    Raises: CorpusError, ManifestError
    """
    names = {*kept.names, *(where.names if where else ()), "source", "tier", "status"}
    told: dict[str, Any] = {}
    for scored in scored_parts(root, names):
        table = scored.judged if where is None else scored.judged.filter(holds(where, scored.judged))
        passing = {part.text: holds(part, table, unknown=None) for part in kept.parts}
        told = added(told, {"hours_in": total_hours(scored.table), **answer(table, passing)})
    for name in GROUPS:
        ranked = sorted(told[f"by_{name}"].items(), key=lambda pair: (-pair[1]["scored"], pair[0]))
        told[f"by_{name}"] = dict(ranked)
    corpus = f"{scored.name}@{scored.digest}"
    return {"corpus": corpus, "what_if": kept.text, "where": where.text if where else None, **told}


def added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of tables of numbers, number by number; what one of them lacks is as in the other."""
    sums = {**one, **other}
    for name in one.keys() & other.keys():
        both = one[name], other[name]
        sums[name] = added(*both) if isinstance(both[0], Mapping) else both[0] + both[1]
    return sums


def answer(table: Any, passing: Mapping[str, Any]) -> dict[str, Any]:
    """The hours of the table, kept and lost; `passing` is condition -> true, false, or null where it is not known."""
    hours = table["hours"].to_numpy()
    verdicts = {text: as_bits(found) for text, found in passing.items()}
    misses = np.zeros(len(hours), dtype=np.int32)
    for verdict in verdicts.values():
        misses += ~verdict
    stays = misses == 0
    now = np.asarray(table["status"].to_numpy(zero_copy_only=False) == "kept")
    conditions: dict[str, dict[str, float]] = {}
    lost_before = np.zeros(len(hours), dtype=bool)
    for text, verdict in verdicts.items():
        conditions[text] = {
            "first": float(hours[~verdict & ~lost_before].sum()),
            "any": float(hours[~verdict].sum()),
            "only": float(hours[~verdict & (misses == 1)].sum()),
            "not_known": float(hours[as_unknown(passing[text])].sum()),
        }
        lost_before |= ~verdict
    whole, left = {}, {}
    kept_rows = table.filter(stays)
    for name, column in GROUPS.items():
        nothing = "(none)" if name == "tier" else "unknown"
        whole[name], left[name] = (hours_by(rows, column, nothing=nothing) for rows in (table, kept_rows))
    return {
        "hours": {
            "scored": float(hours.sum()),
            "kept": float(hours[stays].sum()),
            "lost": float(hours[~stays].sum()),
            "kept_now": float(hours[now].sum()),
            "gained": float(hours[stays & ~now].sum()),
            "given_up": float(hours[~stays & now].sum()),
        },
        "segments": {"scored": len(hours), "kept": int(stays.sum())},
        "by_condition": conditions,
        **{f"by_{name}": hours_by_group(whole[name], left[name]) for name in GROUPS},
    }


def hours_by_group(whole: Mapping[str, float], left: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Group -> hours scored, kept and lost."""
    return {
        name: {"scored": hours, "kept": left.get(name, 0.0), "lost": hours - left.get(name, 0.0)}
        for name, hours in whole.items()
    }


def as_bits(found: Any) -> NDArray[np.bool_]:
    """What is true; what is not known is not."""
    from pyarrow import compute

    return np.asarray(compute.fill_null(found, False).to_numpy(zero_copy_only=False), dtype=bool)


def as_unknown(found: Any) -> NDArray[np.bool_]:
    """What is neither true nor false."""
    from pyarrow import compute

    return np.asarray(compute.is_null(found).to_numpy(zero_copy_only=False), dtype=bool)


def sweep(
    scored: Scored, score: str, thresholds: NDArray[np.float64], *, keep_below: bool
) -> list[tuple[float, float, int]]:
    """Threshold, hours and segments that it keeps, for many thresholds in one pass over the sorted scores.

    Raises: ManifestError where the score is no number
    """
    from pyarrow import types

    table = scored.judged
    column = table[score]
    if not (types.is_floating(column.type) or types.is_integer(column.type)):
        raise ManifestError("--sweep", [f"{score} is {column.type}, and thresholds are for numbers"])
    values = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    known = ~np.isnan(values)
    order = np.argsort(values[known], kind="stable")
    ranked, hours = values[known][order], table["hours"].to_numpy()[known][order]
    before = np.concatenate([[0.0], np.cumsum(hours)])
    at = np.searchsorted(ranked, thresholds, side="right" if keep_below else "left")
    kept = before[at] if keep_below else before[-1] - before[at]
    count = at if keep_below else len(ranked) - at
    return [(float(t), float(h), int(n)) for t, h, n in zip(thresholds, kept, count, strict=True)]


def table_of(facts: Mapping[str, Any]) -> str:
    """The answer for people, in plain text."""
    hours, segments = facts["hours"], facts["segments"]
    whole = hours["scored"] or 1.0
    lines = [
        f"{facts['corpus']}: {duration(hours['scored'])} scored in {segments['scored']:,} segments, "
        f"{duration(hours['kept_now'])} kept by its own policy",
        f"what if {facts['what_if']}" + (f", of those where {facts['where']}" if facts.get("where") else ""),
        row("kept", hours["kept"], whole, f"{segments['kept']:,} segments"),
        row("lost", hours["lost"], whole, ""),
        row("more than now", hours["gained"], whole, "kept by this, dropped by its own policy"),
        row("less than now", hours["given_up"], whole, "dropped by this, kept by its own policy"),
        f"{'lost by condition':<40}{'first':>11}{'any':>11}{'only':>11}{'not known':>11}",
    ]
    for text, cost in facts["by_condition"].items():
        lines.append(f"  {short(text):<38}" + "".join(f"{duration(value):>11}" for value in cost.values()))
    for name in GROUPS:
        groups = dict(list(facts[f"by_{name}"].items())[:SHOWN])
        rest = len(facts[f"by_{name}"]) - len(groups)
        lines.append(f"{'by ' + name:<40}{'scored':>11}{'kept':>11}{'lost':>11}")
        lines += [
            f"  {short(group):<38}" + "".join(f"{duration(value):>11}" for value in part.values())
            for group, part in groups.items()
        ]
        lines += [f"  and {rest} more (--json tells all)"] * (rest > 0)
    return "\n".join(lines)


def row(name: str, hours: float, whole: float, more: str) -> str:
    """A line with hours and their share."""
    return f"  {name:<26}{duration(hours):>12}   {hours / whole:6.1%}   {more}".rstrip()


def short(text: str, width: int = 36) -> str:
    """Not wider than its column."""
    return text if len(text) <= width else text[: width - 3] + "..."


def curve(points: Iterable[tuple[float, float, int]], *, score: str, sign: str) -> str:
    """Hours against thresholds, with bars, in plain text."""
    points = list(points)
    most = max((hours for _, hours, _ in points), default=0.0) or 1.0
    lines = [f"{score + ' ' + sign:<24}{'hours':>12}{'segments':>12}"]
    lines += [
        f"  {at:<22.6g}{duration(hours):>12}{count:>12,}  {'#' * round(40 * hours / most)}"
        for at, hours, count in points
    ]
    return "\n".join(lines)
