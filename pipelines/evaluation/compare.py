"""Two evaluations of the same lines, line by line: in what the second is better, and whether by more than chance."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infra.log import counted
from infra.storage import read_json
from infra.workflow.node import Refused
from pipelines.evaluation.scores import interval, numbered

SAME = ("text", "language", "voice")
"""What two utterances of one key have in common, if they are the same line."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One measure over the lines that both evaluations scored."""

    name: str
    unit: str
    better: str
    """`higher`, `lower`, or `neither`."""
    first: float | None
    second: float | None
    """Means over these lines."""
    difference: float | None
    """Second less first, in the mean."""
    low: float | None
    high: float | None
    """95 % interval of the difference: the bootstrap over voices, of differences a line."""
    scored: int
    """Lines that both have a score of."""
    voices: int

    @property
    def verdict(self) -> str:
        """What the interval shows."""
        if self.low is None or self.high is None:
            return "too few voices to tell" if self.scored else "not scored by both"
        if self.low <= 0 <= self.high:
            return "no difference is shown"
        if self.better == "neither":
            return "differs"
        return "second is better" if (self.low > 0) == (self.better == "higher") else "first is better"


@dataclass(frozen=True)
class Comparison:
    """What two evaluations say of the lines that they share."""

    kind: str
    first: str
    second: str
    """Whose they are: name and digest of the bundles."""
    lines: int
    """That both have."""
    alone: int
    """Lines that only one of them has, or that are not the same in both: another text, language or voice."""
    measures: tuple[Difference, ...]
    unlike: tuple[str, ...]
    """Measures that only one of them has, or that came about in two ways."""


def scores_in(place: Path) -> dict[str, Any]:
    """scores.json of an evaluation's folder, or of the artifact around it.

    Raises: Refused.
    """
    folders = [folder for folder in (place, place / "out") if (folder / "scores.json").is_file()]
    if not folders:
        raise Refused(f"{place}: no evaluation (it has no scores.json); name the folder of one, or its name")
    facts = read_json(folders[0] / "scores.json")
    systems = facts.get("systems") if isinstance(facts, dict) else None
    if facts is None or not isinstance(systems, dict) or "bundle" not in systems:
        raise Refused(f"{folders[0] / 'scores.json'}: torn, or not the scores of an evaluation; run it again")
    if any("voice" not in row for row in systems["bundle"].get("utterances", ())):
        raise Refused(f"{folders[0] / 'scores.json'}: of an older version, which does not tell voices; run it again")
    return facts


def compare(first: Mapping[str, Any], second: Mapping[str, Any], *, resamples: int = 1000, seed: int = 0) -> Comparison:
    """Pair two evaluations by their lines.

    Raises: Refused where they have no line in common.
    """
    one, other = ({row["key"]: row for row in facts["systems"]["bundle"]["utterances"]} for facts in (first, second))
    keys = [key for key in one if key in other and all(one[key][name] == other[key][name] for name in SAME)]
    if first["kind"] != second["kind"] or not keys:
        what = f"{first['kind']} and {second['kind']}" if first["kind"] != second["kind"] else "and no line is in both"
        raise Refused(
            f"these are evaluations of {name_of(first)} and {name_of(second)}, {what}: "
            "run one manifest on both bundles, with the same corpus or list"
        )
    pairs = [(one[key], other[key]) for key in keys]
    told = [facts["systems"]["bundle"]["metrics"] for facts in (first, second)]
    both = [name for name in told[0] if name in told[1] and told[0][name]["how"] == told[1][name]["how"]]
    return Comparison(
        kind=first["kind"],
        first=name_of(first),
        second=name_of(second),
        lines=len(keys),
        alone=len(one) + len(other) - 2 * len(keys),
        measures=tuple(difference(name, told[1][name], pairs, resamples=resamples, seed=seed) for name in both),
        unlike=tuple(name for name in dict.fromkeys([*told[0], *told[1]]) if name not in both),
    )


def difference(
    name: str,
    about: Mapping[str, Any],
    pairs: list[tuple[Mapping[str, Any], Mapping[str, Any]]],
    *,
    resamples: int,
    seed: int,
) -> Difference:
    """One measure, over the lines that both have a score of."""
    scored = [pair for pair in pairs if all(not isinstance(row["scores"][name], str) for row in pair)]
    values_2N = np.array([[row["scores"][name] for row in pair] for pair in scored], dtype=np.float64).reshape(-1, 2).T
    by_line_N = values_2N[1] - values_2N[0]
    groups = numbered([row["voice"] for row, _ in scored])
    low, high = interval(by_line_N, groups, resamples=resamples, seed=seed)
    mean_first, mean_second, mean = (
        float(values.mean()) if len(values) else None for values in (*values_2N, by_line_N)
    )
    return Difference(
        name=name,
        unit=about["unit"],
        better=about["better"],
        first=mean_first,
        second=mean_second,
        difference=mean,
        low=low,
        high=high,
        scored=len(scored),
        voices=len(np.unique(groups)),
    )


def name_of(facts: Mapping[str, Any]) -> str:
    """The bundle that was evaluated: `name@digest`."""
    return f"{facts['bundle']['name']}@{facts['bundle']['digest'][:8]}"


def told(found: Comparison) -> Iterator[str]:
    """For a terminal."""
    yield f"first {found.first}, second {found.second}: {found.kind}, {counted(found.lines, 'line')} of both"
    for one in found.measures:
        if one.first is None:
            yield f"  {one.name:<22} {one.verdict}"
            continue
        unit = f" {one.unit}" if one.unit else ""
        doubt = "" if one.low is None else f" [{one.low:+.3f}, {one.high:+.3f}]"
        numbers = f"{one.first:.3f} -> {one.second:.3f}{unit}, {one.difference:+.3f}{doubt}"
        count = f"{one.scored} of {counted(found.lines, 'line')}, {counted(one.voices, 'voice')}"
        note = "" if one.better == "neither" else f" ({one.better} is better)"
        yield f"  {one.name:<22} {numbers:<48} {one.verdict}{note}; {count}"
    if found.alone:
        yield f"not compared: {counted(found.alone, 'utterance')} that only one has, or whose line is another in both"
    if found.unlike:
        yield f"not compared, since only one has it or the judges differ: {', '.join(found.unlike)}"
    yield (
        "In brackets the 95 % interval of the difference, by a bootstrap over voices of the differences a line; each "
        "measure by itself: of twenty, one differs by chance."
    )
