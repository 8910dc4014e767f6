"""The policy: stored scores to verdicts. Scores are facts and cost hours; verdicts are views and cost nothing."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from infra.manifest import Entry, resolve
from pipelines.manifest import CorpusManifest
from pipelines.row import Segment, segment_of


@dataclass(frozen=True)
class Verdict:
    """What the policy says of a segment."""

    tier: str | None
    """None where it is dropped."""
    reasons: tuple[str, ...]
    """Names of the filters that refuse it, in the order of the manifest; where no tier takes it, of the last tier's."""
    detail: str = ""
    """The first reason, with the value that was judged."""


@cache
def filter_named(name: str) -> ModuleType:
    """The file of pipelines/filters; looked up once, since a policy asks for it a million times."""
    return resolve("pipelines.filters", name)


def refusals(segment: Segment, filters: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    """Name and value of every filter that does not keep the segment."""
    for entry in filters:
        module = filter_named(entry.name)
        if not module.keep(segment, entry.settings):
            value = getattr(segment, module.SCORE)
            shown = f"{value:.4g}" if isinstance(value, float) else repr(value) if value is not None else "not known"
            yield entry.name, f"{entry.name}: {module.SCORE} is {shown}"


def judge(segment: Segment, manifest: CorpusManifest) -> Verdict:
    """Tier, or all reasons why not."""
    found = dict(refusals(segment, manifest.keep))
    tier: str | None = "all"
    for name, filters in manifest.tiers.items():
        missed = dict(refusals(segment, filters))
        tier = None if missed else name
        if not missed:
            break
    if tier is None:
        found |= missed
    if found:
        return Verdict(None, tuple(found), next(iter(found.values())))
    return Verdict(tier, ())


def duplicate(why: str) -> Verdict:
    """Of a segment that is there already."""
    return Verdict(None, ("duplicate",), f"duplicate: {why}")


def nowhere(row: Mapping[str, Any]) -> bool:
    """There is no copy."""
    return False


@dataclass
class Seen:
    """What is known of copies, so that of those with the same bytes one is kept."""

    has_transcribed_copy: Callable[[Mapping[str, Any]], bool] = nowhere
    """Is the same sound kept with a transcript in place of this row?"""
    repeated: Container[str] | None = None
    """Keys that may come more than once; of others nothing is remembered. None: all may."""
    kept: set[str] = field(default_factory=set)
    """Keys that were kept before."""
    refused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Key -> why its first copy was refused."""

    def copy_of(self, row: Mapping[str, Any]) -> str:
        """Of which copy a row is a duplicate, whatever the policy says of it; an empty text where of none."""
        if row["key"] in self.kept:
            return "the same bytes came before, under another name"
        return "the same bytes came with a transcript, under another name" if self.has_transcribed_copy(row) else ""

    def remembered(self, key: str, verdict: Verdict) -> Verdict:
        """The verdict, remembered for copies to come; another one where the first copy was refused for the same."""
        if self.repeated is not None and key not in self.repeated:
            return verdict
        if verdict.tier is not None:
            self.kept.add(key)
        elif self.refused.get(key) == verdict.reasons:
            return duplicate("the same bytes were refused before, under another name")
        else:
            self.refused.setdefault(key, verdict.reasons)
        return verdict


def verdicts(
    rows: Iterable[Mapping[str, Any]], manifest: CorpusManifest, *, seen: Seen | None = None
) -> Iterator[Verdict]:
    """A verdict for each row, in order. Of segments with the same bytes of sound behind them, the first that the policy
    keeps is kept; one that is refused for the same reasons as a copy before it is a duplicate, too.

    `seen` holds what came before these rows, and takes up theirs.
    """
    seen = Seen() if seen is None else seen
    for row in rows:
        if copy := seen.copy_of(row):
            yield duplicate(copy)
        else:
            yield seen.remembered(str(row["key"]), judge(segment_of(row), manifest))
