"""Thresholds a language, from a corpus that is known to be clean: a percentile of its scores, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.workflow.node import Refused
from pipelines.policy.conditions import Condition, holds
from pipelines.policy.scored import read_scored
from pipelines.policy.thresholds import OTHER, Bound, bound_of, rounded, yaml_line

REPLICATES = 1000
CONFIDENCE = 0.95
FEWEST_CLIPS = 30
"""Fewer tell nothing of a tail."""
SEED = 20_260


@dataclass(frozen=True)
class Anchor:
    """The percentile of a score in one language of an anchor corpus."""

    score: str
    language: str
    threshold: float
    low: float
    """Of the confidence interval, by bootstrap over voices."""
    high: float
    clips: int
    voices: int


def calibrate(
    root: Path, *, scores: Sequence[str], percentile: float, where: Condition | None = None
) -> dict[Bound, list[Anchor]]:
    """Bound -> anchors of all languages with enough clips, and of `other`: the clips of all of them together.

    For a score of which less is better, the percentile counts from the top. Clips of a voice are drawn together, since
    they are alike: a corpus of many clips of few voices is not sure of much.

    Raises: Refused where no language has enough clips; CorpusError, ManifestError.
    """
    bounds = [bound_of(score, where="--scores") for score in scores]
    names = {*scores, "given_speaker", "recording", *(where.names if where else ())}
    table = read_scored(root, names).judged
    if where is not None:
        table = table.filter(holds(where, table))
    from pyarrow import compute

    languages = np.asarray(table["language_or_given"].to_numpy(zero_copy_only=False)).astype(str)
    voices = compute.coalesce(table["given_speaker"], table["recording"]).combine_chunks()
    voice = np.asarray(voices.dictionary_encode().indices)
    found = {}
    for bound in bounds:
        values = np.asarray(table[bound.score].to_numpy(zero_copy_only=False), dtype=np.float64)
        known = ~np.isnan(values)
        codes = [str(code) for code in np.unique(languages[known]) if code != "unknown"]
        anchors = []
        for code in codes:
            inside = known & (languages == code)
            if int(inside.sum()) >= FEWEST_CLIPS:
                anchors.append(anchor(bound, code, values[inside], voice[inside], percentile=percentile))
        if not anchors:
            raise Refused(
                f"no language of the anchor corpus has {FEWEST_CLIPS} clips with {bound.score} (in all languages, "
                f"{int(known.sum())} clips have it); a percentile of so few tells nothing"
            )
        anchors.append(anchor(bound, OTHER, values[known], voice[known], percentile=percentile))
        found[bound] = anchors
    return found


def anchor(bound: Bound, language: str, values: Any, voice: Any, *, percentile: float) -> Anchor:
    """The percentile, and its interval."""
    share = 1 - percentile / 100 if bound.below else percentile / 100
    names, of = np.unique(voice, return_inverse=True)
    low, high = interval(values, of, voices=len(names), share=share)
    middle = quantile(np.sort(values), np.ones(len(values)), share=share)
    return Anchor(bound.score, language, rounded(middle, below=bound.below), low, high, len(values), len(names))


def interval(
    values: NDArray[np.float64], voice: NDArray[np.int64], *, voices: int, share: float
) -> tuple[float, float]:
    """Percentile bootstrap: whole voices are drawn with replacement; clips are, where there is one voice only."""
    generator = np.random.default_rng(SEED)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    of = voice[order] if voices > 1 else np.arange(len(values))
    count = voices if voices > 1 else len(values)
    drawn = np.empty(REPLICATES)
    for number in range(REPLICATES):
        times = np.bincount(generator.integers(0, count, count), minlength=count)
        drawn[number] = quantile(ordered, times[of], share=share)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def quantile(ordered: NDArray[np.float64], weight: NDArray[Any], *, share: float) -> float:
    """The smallest value below or at which this share of the weight lies."""
    sums = np.cumsum(weight)
    return float(ordered[min(int(np.searchsorted(sums, share * sums[-1])), len(ordered) - 1)])


def yaml_of(found: dict[Bound, list[Anchor]], *, corpus: str, percentile: float) -> str:
    """The lines of `keep:` to paste into a manifest, after a comment for each language."""
    lines = [f"# anchor {corpus}: percentile {percentile:g} of each score, with its {CONFIDENCE:.0%} interval"]
    for bound, anchors in found.items():
        side = "at most" if bound.below else "at least"
        for item in anchors:
            lines.append(
                f"#   {bound.score:<20} {item.language:<6} {side} {item.threshold:<8g} "
                f"[{item.low:.4g}, {item.high:.4g}]  {item.clips:,} clips, {item.voices:,} voices"
            )
    lines.append("keep:")
    for bound, anchors in found.items():
        table = {item.language: item.threshold for item in anchors}
        lines.append(yaml_line(bound, table))
    return "\n".join(lines)
