"""What a workflow came to, for the person who started it: a line a node, what each gave, and where it lies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.log import clock
from infra.workflow.graph import Node
from infra.workflow.node import Made


@dataclass(frozen=True)
class NodeResult:
    """How one node fared: `made`, `skipped`, `failed`, `blocked` or `left`."""

    node: Node
    result: str
    note: str
    seconds: float = 0.0
    made: Made | None = None


def table(rows: Mapping[str, NodeResult]) -> list[str]:
    """The summary: a line a node that was asked for, with its time; what failed says why."""
    width = max(map(len, rows))
    lines = []
    for name, row in rows.items():
        if row.result == "left":
            continue
        took = clock(row.seconds) if row.result in ("made", "failed") else ""
        note = "" if row.result == "made" else row.note
        lines.append(f"{name:<{width}}  {row.result:<8} {took:>12}  {note}".rstrip())
        lines += [f"{'':<{width}}    {line}" for line in results(row)]
    return lines


def described(rows: Mapping[str, NodeResult]) -> str:
    """How every node fared, as a table in Markdown: the description of the workflow's run."""
    lines = ["| node | result | version | time | |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        version = f"@{row.made.digest[:8]}" if row.made else ""
        lines.append(f"| {name} | {row.result} | {version} | {clock(row.seconds)} | {row.note} |")
    return "\n".join(lines)


def results(row: NodeResult) -> list[str]:
    """What came of a node: losses of a stage, first and last; scores of an evaluation; hours of a corpus."""
    if row.made is None:
        return []
    summary = row.made.summary
    if row.node.kind == "train":
        first, last = summary.get("first", {}), summary.get("last", {})
        return [f"{term:<28} {first[term]:>10.4g} -> {last[term]:<10.4g}".rstrip() for term in first if term in last]
    if row.node.kind == "eval":
        return scores(summary.get("means", {}))
    if row.node.kind == "corpus" and "hours_in" in summary:
        hours, given = summary["hours"] * 3600, summary["hours_in"] * 3600
        return [f"{summary['samples']} samples, {clock(hours)} of the {clock(given)} that came in"]
    return []


def scores(means: Mapping[str, float]) -> list[str]:
    """A line a metric: the mean for each system that has it."""
    found: dict[str, list[str]] = {}
    for name, mean in means.items():
        system, _, metric = name.partition("/")
        if not metric.endswith("_scored"):
            found.setdefault(metric, []).append(f"{system} {mean:.4g}")
    return [f"{metric:<28} {', '.join(told)}" for metric, told in found.items()]


def paths(rows: Mapping[str, NodeResult]) -> list[str]:
    """Where the artifacts lie, as seen from here."""
    return [f"{name}: {shown(row.made.out)}" for name, row in rows.items() if row.made is not None]


def shown(path: Path) -> str:
    """A path relative to the current directory where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
