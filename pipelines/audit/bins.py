"""Scores in bins of hours: what a histogram draws, and from which a page says what another limit would keep."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.audit.coded import Mask
from pipelines.audit.columns import Columns, Floats
from pipelines.audit.scores import Limit

BINS = 48


@dataclass(frozen=True)
class Binned:
    """Hours of segments by the value of a score; a value beyond an end counts in the bin at that end."""

    score: str
    edges: Floats
    """Of the bins; every limit of `keep` is one of them, so that sums up to it are exact."""
    kept: Floats
    alone: Floats
    """Dropped by this score's filter and by no other: another limit would bring them back."""
    other: Floats
    """Dropped or failed for other reasons."""
    kept_unscored: float
    """Hours that are kept without the score."""
    limits: tuple[Limit, ...]

    @property
    def low(self) -> int:
        """The edge from which the manifest keeps: 0 where it says nothing."""
        found = [limit for limit in self.limits if limit.place == "keep" and limit.side == "min" and plain(limit)]
        return max((self.edge(limit) for limit in found), default=0)

    @property
    def high(self) -> int:
        """The edge up to which the manifest keeps: the last where it says nothing."""
        found = [limit for limit in self.limits if limit.place == "keep" and limit.side == "max" and plain(limit)]
        return min((self.edge(limit) for limit in found), default=len(self.edges) - 1)

    def edge(self, limit: Limit) -> int:
        """The edge at a limit, or the end that it lies beyond."""
        return int(np.clip(np.searchsorted(self.edges, edge_of(limit)), 0, len(self.edges) - 1))


def binned(columns: Columns, score: str, *, limits: Sequence[Limit]) -> Binned | None:
    """The bins of a score; None where no segment has it."""
    values = columns.numbers(score)
    scored = columns.segment & np.isfinite(values)
    if not scored.any():
        return None
    mine = tuple(limit for limit in limits if limit.score == score)
    edges = edges_of(values[scored], limits=mine)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    filters = sorted({limit.filter for limit in mine if limit.place == "keep"})
    alone = columns.reasons.all_among(filters) if filters else np.zeros(columns.count, dtype=bool)
    alone &= columns.of_status("dropped")

    def hours(rows: Mask) -> Floats:
        return np.asarray(np.bincount(place[rows], weights=columns.hours[rows], minlength=len(edges) - 1), np.float64)

    kept = columns.kept & scored
    return Binned(
        score=score,
        edges=edges,
        kept=hours(kept),
        alone=hours(scored & alone),
        other=hours(scored & ~columns.kept & ~alone),
        kept_unscored=float(columns.hours[columns.kept & ~scored].sum()),
        limits=mine,
    )


def edges_of(values: Floats, *, limits: Sequence[Limit]) -> Floats:
    """Edges over all but far outliers, with an edge at every limit that is near; never of no length."""
    low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    reach = (high - low) or abs(low) or 1.0
    near = [edge_of(limit) for limit in limits if low - reach <= limit.value <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.02 * (high - low) or 0.5
    begin = max(low - margin, 0.0) if values.min() >= 0 else low - margin
    even = np.linspace(begin, high + margin, BINS + 1)
    return np.unique(np.concatenate([even, near]))


def edge_of(limit: Limit) -> float:
    """Where the bins part so that what the limit keeps lies on one side: a highest value is kept itself."""
    return limit.value if limit.side == "min" else float(np.nextafter(limit.value, np.inf))


def plain(limit: Limit) -> bool:
    """Does it hold for every language that has none of its own?"""
    return limit.language in ("", "other")
