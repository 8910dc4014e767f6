"""The policy: stored scores to verdicts. Scores are facts and cost hours; verdicts are views and cost nothing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType

from infra.manifest import Entry, resolve
from pipelines.manifest import CorpusManifest
from pipelines.row import Segment


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


@dataclass
class Seen:
    """What became of copies that came before. Of segments with the same bytes of sound behind them, the first that the
    policy keeps is kept; one that is refused for the same reasons as the first copy is a duplicate, too."""

    kept: set[str] = field(default_factory=set)
    """Keys that were kept before."""
    refused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Key -> why its first copy was refused."""

    def copy(self, key: str, verdict: Verdict | None) -> str:
        """Of which copy the next segment of this key is a duplicate; an empty text where of none. `verdict` is what
        the policy says of it, None where it has no say."""
        if key in self.kept:
            return "the same bytes came before, under another name"
        if verdict is None:
            return ""
        if verdict.tier is not None:
            self.kept.add(key)
        elif key not in self.refused:
            self.refused[key] = verdict.reasons
        elif self.refused[key] == verdict.reasons:
            return "the same bytes were refused before, under another name"
        return ""
