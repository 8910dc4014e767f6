"""Which thresholds yield so many hours at the best quality? The answer is found in stored scores, and checked there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.workflow.node import Refused
from pipelines.funnel import duration
from pipelines.policy.conditions import Condition, holds
from pipelines.policy.scored import Scored, read_scored, total_hours
from pipelines.policy.thresholds import OTHER, Bound, bound_of, limit_for, rounded, yaml_line

Hours = NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """Thresholds, and what they keep."""

    bounds: tuple[Bound, ...]
    thresholds: tuple[float | dict[str, float], ...]
    """One for each bound."""
    percentile: float
    """All thresholds stand at this percentile of their score, in hours, in each language."""
    hours: float
    """Kept, by evaluating the thresholds as they are printed."""
    segments: int
    hours_in: float
    """Of the segments that the other filters of the corpus let pass: what could be had at most."""
    language: str | None
    by_language: Mapping[str, float]


@dataclass(frozen=True)
class Languages:
    """Of all candidates."""

    codes: NDArray[Any]
    """Each once, in small letters; `unknown` where none is known."""
    number_N: NDArray[np.int64]
    """Of each candidate, in `codes`."""

    @property
    def of_each(self) -> NDArray[Any]:
        """Of each candidate."""
        return np.asarray(self.codes[self.number_N])


@dataclass(frozen=True)
class Ranking:
    """The values of a score, and how each candidate stands by it; see `ranked`."""

    bound: Bound
    value_N: Hours
    rank_N: Hours
    """In its language; of a candidate without one, among all."""
    of_all_N: Hours

    def threshold(self, level: float, languages: Languages) -> float | dict[str, float]:
        """What keeps all that stand at this level or above: one number, or one a language and one for all others."""
        value_N, number_N = self.value_N, languages.number_N
        each = {
            str(code): lowest(value_N[number_N == n], self.rank_N[number_N == n], level, self.bound)
            for n, code in enumerate(languages.codes)
        }
        if len(each) == 1:
            return next(iter(each.values()))
        each.pop("unknown", None)
        return {**each, OTHER: lowest(value_N, self.of_all_N, level, self.bound)}


def target(
    root: Path, *, hours: float, scores: Sequence[str], language: str | None = None, where: Condition | None = None
) -> Target:
    """The highest percentile, common to all scores and languages, whose thresholds keep at least so many hours.

    A segment counts where every filter of the corpus's policy, but those on the same scores, lets it pass.

    Raises: Refused where there are fewer hours; CorpusError, ManifestError.
    """
    bounds = tuple(bound_of(score, where="--by") for score in scores)
    scored = read_scored(root, {*scores, "reasons", *(where.names if where else ())})
    table = candidates(scored, {bound.filter for bound in bounds}, language=language, where=where)
    weight_N = np.asarray(table["hours"].to_numpy(), dtype=np.float64)
    languages = languages_of(table)
    rankings = [ranking(table, bound, weight_N, languages) for bound in bounds]
    joint_N = np.min([one.rank_N for one in rankings], axis=0) if rankings else np.zeros(0)
    level = highest_level(joint_N, weight_N, hours=hours, whole=total_hours(table))
    thresholds = [one.threshold(level, languages) for one in rankings]
    kept_N = np.ones(len(weight_N), dtype=bool)
    for one, threshold in zip(rankings, thresholds, strict=True):
        kept_N &= passes(one.value_N, threshold, languages.of_each, bound=one.bound)
    return Target(
        bounds=bounds,
        thresholds=tuple(thresholds),
        percentile=100 * max(level, 0.0),
        hours=float(weight_N[kept_N].sum()),
        segments=int(kept_N.sum()),
        hours_in=float(weight_N.sum()),
        language=language,
        by_language={
            str(code): float(weight_N[kept_N & (languages.number_N == n)].sum())
            for n, code in enumerate(languages.codes)
        },
    )


def languages_of(table: Any) -> Languages:
    """Of the candidates in a table."""
    spoken = np.asarray(table["language_or_given"].to_numpy(zero_copy_only=False)).astype(str)
    return Languages(*np.unique(np.char.lower(spoken), return_inverse=True))


def ranking(table: Any, bound: Bound, weight_N: Hours, languages: Languages) -> Ranking:
    """Of the candidates in a table, by the score of a bound."""
    value_N = column(table, bound)
    in_language = ranked(value_N, weight_N, languages.number_N, bound=bound)
    of_all = ranked(value_N, weight_N, np.zeros_like(languages.number_N), bound=bound)
    return Ranking(bound, value_N, np.where(languages.of_each == "unknown", of_all, in_language), of_all)


def candidates(scored: Scored, filters: set[str], *, language: str | None, where: Condition | None) -> Any:
    """The rows that only these filters may refuse.

    Raises: Refused where there is none.
    """
    import pyarrow
    from pyarrow import compute

    table = scored.judged
    if where is not None:
        table = table.filter(holds(where, table))
    if language is not None:
        codes = compute.utf8_lower(table["language_or_given"])
        wanted = language.lower()
        table = table.filter(compute.or_(compute.equal(codes, wanted), compute.starts_with(codes, f"{wanted}-")))
    reasons = table["reasons"].combine_chunks()
    stranger = compute.invert(compute.is_in(reasons.flatten(), value_set=pyarrow.array(sorted(filters), "string")))
    refused = np.zeros(table.num_rows, dtype=bool)
    refused[compute.list_parent_indices(reasons).filter(stranger).to_numpy()] = True
    table = table.filter(~refused)
    if not table.num_rows:
        asked = f" in {language}" if language else ""
        raise Refused(f"no segment{asked} passes the other filters of the corpus; nothing can be chosen from")
    return table


def column(table: Any, bound: Bound) -> Hours:
    """The score, so that more is better; NaN where it is not known."""
    values = np.asarray(table[bound.score].to_numpy(zero_copy_only=False), dtype=np.float64)
    return -values if bound.below else values


def ranked(values: Hours, weight: Hours, group: NDArray[np.int64], *, bound: Bound) -> Hours:
    """Share of the hours of its group that score no better, 0 to 1; for unknown scores what the filter does with them.

    Equal scores share the highest of their ranks: where most have the best there is, it is the threshold of nobody.
    """
    rank = np.full(len(values), 2.0 if bound.unknown_passes else -1.0)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.lexsort((values[known], group[known]))]
    if not len(order):
        return rank
    ordered, of = values[order], group[order]
    sums = np.cumsum(weight[order])
    before = sums - weight[order]
    starts = np.flatnonzero(np.r_[True, of[1:] != of[:-1]])
    sizes = np.diff(np.r_[starts, len(order)])
    base = np.repeat(before[starts], sizes)
    whole = np.repeat(np.add.reduceat(weight[order], starts), sizes)
    new = np.flatnonzero(np.r_[True, (of[1:] != of[:-1]) | (ordered[1:] != ordered[:-1])])
    ends = np.r_[new[1:], len(order)]
    last = np.repeat(sums[ends - 1], ends - new)
    rank[order] = (last - base) / np.maximum(whole, 1e-30)
    return rank


def highest_level(joint: Hours, weight: Hours, *, hours: float, whole: float) -> float:
    """The highest percentile (0 to 1) at which at least `hours` are left.

    Raises: Refused
    """
    order = np.argsort(-joint, kind="stable")
    possible = order[joint[order] >= 0]
    left = np.cumsum(weight[possible])
    most = float(left[-1]) if len(left) else 0.0
    if most < hours * (1 - 1e-12):
        raise Refused(
            f"{duration(hours)} cannot be had: {duration(most)} of {duration(whole)} have these scores and pass the "
            "other filters of the corpus; ask for fewer, or loosen those"
        )
    at = int(np.searchsorted(left, hours * (1 - 1e-12)))
    return min(float(joint[possible[at]]), 1.0)


def lowest(values: Hours, rank: Hours, level: float, bound: Bound) -> float:
    """The threshold that keeps what stands at this level or above, in the score's own sense, rounded to keep more."""
    there = values[(rank >= level) & ~np.isnan(values)]
    if not there.size:
        there = values[~np.isnan(values)][-1:]
    worst = float(there.min()) if there.size else 0.0
    return rounded(-worst if bound.below else worst, below=bound.below)


def passes(values: Hours, threshold: float | Mapping[str, float], languages: Any, *, bound: Bound) -> NDArray[np.bool_]:
    """What the filter says of each value: the same as its `keep`."""
    if isinstance(threshold, float | int):
        limits: Any = threshold
    else:
        codes, at = np.unique(languages, return_inverse=True)
        limits = np.array([limit_for(threshold, None if code == "unknown" else str(code)) for code in codes])[at]
    known = ~np.isnan(values)
    good = values >= (-limits if bound.below else limits)
    return np.where(known, good, bound.unknown_passes)


def yaml_of(found: Target, *, corpus: str) -> str:
    """The lines of `keep:` to paste into a manifest, after comments that say what they give."""
    lines = [
        f"# {corpus}: {duration(found.hours)} in {found.segments:,} segments, of {duration(found.hours_in)} that its "
        "other filters let pass;",
        f"# every threshold at percentile {found.percentile:.2f} of its score, in hours, in each language",
    ]
    if len(found.by_language) > 1:
        lines.append("# " + ", ".join(f"{code} {duration(hours)}" for code, hours in found.by_language.items()))
    lines.append("keep:")
    if found.language is not None:
        lines.append(f"  - {{name: language, allow: [{found.language}]}}")
    lines += [yaml_line(bound, value) for bound, value in zip(found.bounds, found.thresholds, strict=True)]
    return "\n".join(lines)
