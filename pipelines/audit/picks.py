"""Which clips a page shows: drawn, worst, in doubt, near a limit, rejected; as many for any corpus."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.audit.coded import Mask
from pipelines.audit.columns import Columns, Floats
from pipelines.audit.pictures import short
from pipelines.audit.scores import DISAGREEMENTS, OPINIONS, QUALITY, SUSPICIONS, Limit, name_of

Rows = NDArray[np.int64]
MOST_LIMITS, MOST_REASONS = 14, 14


@dataclass(frozen=True)
class Pick:
    """Some clips under a heading."""

    section: str
    """Anchor of the section it stands in: `kept`, `doubt`, `limits`, `rejected`."""
    title: str
    rows: Rows
    score: str | None = None
    """What decided; shown first on the cards."""


def picks(columns: Columns, *, limits: Sequence[Limit], random: np.random.Generator, each: int) -> Iterator[Pick]:
    """All sheets of a page, in order."""
    yield Pick("kept", "Drawn evenly from languages, sources and tiers", stratified(columns, 6 * each, random=random))
    yield from worst(columns, 2 * each)
    yield from in_doubt(columns, each + 2)
    yield from at_limits(columns, limits, each)
    yield from rejected(columns, each + 2, random=random)


def stratified(columns: Columns, count: int, *, random: np.random.Generator) -> Rows:
    """Up to `count` kept segments, in turn from each language, source and tier, drawn at random within each."""
    rows = np.flatnonzero(columns.kept)
    rows = rows[random.permutation(len(rows))]
    strata = np.stack([columns.language.codes[rows], columns.source.codes[rows], columns.texts("tier").codes[rows]])
    _, stratum = np.unique(strata, axis=1, return_inverse=True)
    order = np.argsort(stratum, kind="stable")
    begins = np.searchsorted(stratum[order], stratum[order])
    turn = np.empty(len(rows), dtype=np.int64)
    turn[order] = np.arange(len(rows)) - begins
    chosen = np.lexsort((stratum, turn))[:count]
    return np.asarray(rows[np.sort(chosen[np.argsort(stratum[chosen], kind="stable")])] if len(rows) else rows)


def extreme(values: Floats, among: Mask, count: int, *, largest: bool) -> Rows:
    """Rows with the smallest or largest values; equal ones in their order."""
    rows = np.flatnonzero(among & np.isfinite(values))
    signed = -values[rows] if largest else values[rows]
    if len(rows) > count:
        limit = np.partition(signed, count - 1)[count - 1]
        rows, signed = rows[signed <= limit], signed[signed <= limit]
    return np.asarray(rows[np.argsort(signed, kind="stable")][:count])


def worst(columns: Columns, count: int) -> Iterator[Pick]:
    """The kept segments that sound worst, by the first score of quality that was measured."""
    score = next((name for name in QUALITY if name in columns.types and has(columns, name)), None)
    if score is not None:
        rows = extreme(columns.numbers(score), columns.kept, count, largest=False)
        yield Pick("kept", f"The worst that is kept, by {name_of(score)[0].lower()}", rows, score)


def has(columns: Columns, score: str) -> bool:
    """Is there a kept segment with the score?"""
    return bool(np.isfinite(columns.numbers(score)[columns.kept]).any())


def in_doubt(columns: Columns, count: int) -> Iterator[Pick]:
    """Kept segments on which two judges disagree most: recognizers, models of opinions, a caption and the measures."""
    for score in DISAGREEMENTS:
        if score in columns.types and has(columns, score):
            rows = extreme(columns.numbers(score), columns.kept & (columns.numbers(score) > 0), count, largest=True)
            yield Pick("doubt", f"{name_of(score)[0]}: where they differ most", rows, score)
    opinions = [score for score in OPINIONS if score in columns.types and has(columns, score)]
    if len(opinions) > 1:
        gap = ranks(columns.numbers(opinions[0]), columns.kept) - ranks(columns.numbers(opinions[1]), columns.kept)
        names = " and ".join(name_of(score)[0].lower() for score in opinions[:2])
        rows = extreme(np.abs(gap), columns.kept, count, largest=True)
        yield Pick("doubt", f"Where {names} rank a clip most differently", rows, opinions[0])
    if "separation_gain" in columns.types and has(columns, "separation_gain"):
        rows = extreme(columns.numbers("separation_gain"), columns.kept, count, largest=False)
        yield Pick("doubt", "Where taking the voice out helped least", rows, "separation_gain")
    for name, title in SUSPICIONS.items():
        if name in columns.types:
            found = columns.kept & (columns.lists(name).length > 0)
            yield Pick("doubt", title, np.flatnonzero(found)[:count])
    if "language_agrees" in columns.types:
        found = columns.kept & (columns.flags("language_agrees") == 0)
        yield Pick("doubt", "Texts in another language than the sound", np.flatnonzero(found)[:count])


def ranks(values: Floats, among: Mask) -> Floats:
    """The place of each value among all, 0 to 1; NaN where there is none."""
    found = np.full(len(values), np.nan)
    rows = np.flatnonzero(among & np.isfinite(values))
    found[rows[np.argsort(values[rows], kind="stable")]] = np.linspace(0, 1, len(rows))
    return found


def at_limits(columns: Columns, limits: Sequence[Limit], each: int) -> Iterator[Pick]:
    """The segments nearest to a limit, on both sides of it."""
    told = [limit for limit in limits if limit.score in columns.score_names]
    for limit in told[:MOST_LIMITS]:
        values = columns.numbers(limit.score)
        among = columns.segment & ~columns.gone & under(columns, limit, limits)
        below = extreme(values, among & (values < limit.value), each, largest=True)
        above = extreme(values, among & (values >= limit.value), each, largest=False)
        if not len(below) or not len(above):
            continue
        where = f"{limit.filter} in {limit.place}" + (f", {limit.language}" if limit.language else "")
        for side, rows in (("below", below), ("above", above)):
            title = f"{name_of(limit.score)[0]}, just {side} {short(limit.value)} ({where})"
            yield Pick("limits", title, rows, limit.score)


def under(columns: Columns, limit: Limit, limits: Sequence[Limit]) -> Mask:
    """Rows of the language that a limit is for; of all that have none of their own, where it is for the others."""
    codes = columns.language.codes
    if limit.language not in ("", "other"):
        return columns.language.equals(limit.language)
    same = [one for one in limits if (one.filter, one.place, one.side) == (limit.filter, limit.place, limit.side)]
    return ~np.isin(codes, [columns.language.code(one.language) for one in same if one.language])


def rejected(columns: Columns, count: int, *, random: np.random.Generator) -> Iterator[Pick]:
    """Segments that are not kept, under their first reason, drawn at random; the reason of most hours first."""
    lost = np.flatnonzero(columns.segment & ~columns.kept & ~columns.gone)
    first, names = columns.reasons.first[lost], columns.reasons.coded.names
    hours = np.bincount(first[first >= 0], weights=columns.hours[lost][first >= 0], minlength=len(names))
    for code in np.argsort(-hours, kind="stable")[:MOST_REASONS]:
        rows = lost[first == code]
        if len(rows):
            drawn = np.sort(random.permutation(len(rows))[:count])
            yield Pick("rejected", f"{names[code].replace('_', ' ')} ({len(rows):,})", rows[drawn])
