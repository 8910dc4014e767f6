"""The bill of materials of licenses: hours under each one, the terms that they join to, and what those forbid."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.funnel import duration
from pipelines.policy.licenses import Use, forbidden, join, refused, terms_of
from pipelines.shards import Corpus


@dataclass(frozen=True)
class LicenseHours:
    """One license, as it is written in the corpus."""

    license: str
    hours: float
    terms: tuple[str, ...]
    refused: str | None
    """Why it does not allow what is asked."""


def bill(hours: Mapping[str, float], *, allow: Sequence[Use] = ()) -> list[LicenseHours]:
    """A line a license, most hours first."""
    ranked = sorted(hours.items(), key=lambda pair: (-pair[1], pair[0]))
    return [LicenseHours(name, part, tuple(sorted(terms_of(name))), refused(name, allow)) for name, part in ranked]


def hours_under(corpus: Corpus) -> dict[str, float]:
    """License -> hours of the samples that are seen of a corpus or selection."""
    hours: dict[str, float] = {}
    for license, seconds in zip(*corpus.rows.columns("license", "seconds").to_pydict().values(), strict=True):
        hours[license] = hours.get(license, 0.0) + seconds / 3600
    return hours


def terms_told(licenses: Iterable[str]) -> str:
    """`by nc, which forbids commercial`: the terms that the licenses join to."""
    terms = join(licenses)
    uses = sorted(forbidden(terms))
    return f"{' '.join(sorted(terms)) or 'none'}" + (f", which forbids {', '.join(uses)}" if uses else "")


def table(lines: Sequence[LicenseHours], *, title: str) -> str:
    """For people, in plain text."""
    whole = sum(line.hours for line in lines)
    told = [f"{title:<44}{duration(whole):>12}   terms: {terms_told(line.license for line in lines)}"]
    for line in lines:
        note = f"   {line.refused}" if line.refused else ""
        told.append(f"  {line.license or '(none)':<42}{duration(line.hours):>12}   {' '.join(line.terms) or '-'}{note}")
    return "\n".join(told)
