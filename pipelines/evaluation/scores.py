"""From one score an utterance to a mean with its uncertainty; what could not be scored is counted with its reason."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.manifest import Entry, resolve
from pipelines.evaluation.metrics import Column, Score, Utterance


@dataclass(frozen=True)
class Summary:
    """A column in a few numbers."""

    mean: float | None
    low: float | None
    """With `high`: 95 % confidence interval of the mean, by the bootstrap over voices."""
    high: float | None
    total: int
    scored: int
    voices: int
    """How many voices the scored utterances have; one that is in nobody's voice counts as a voice of its own."""
    missing: int
    """Utterances that could not be made at all."""
    unscored: Mapping[str, int]
    """Reason -> how many, the missing ones included."""


def measure(metrics: Sequence[Entry], utterances: Sequence[Utterance]) -> list[Column]:
    """Every metric of the manifest on one system.

    Of two columns of one name, as of one metric by two judges, the second is named after its judge, or numbered.
    """
    columns: dict[str, Column] = {}
    for entry in metrics:
        for column in resolve("pipelines.evaluation.metrics", entry.name).measure(utterances, entry.settings):
            numbered = (f"{column.name}_{number}" for number in count(2))
            names = chain([column.name], [f"{column.name}_{column.by}"] if column.by else [], numbered)
            name = next(name for name in names if name not in columns)
            columns[name] = replace(column, name=name, scores=[finite(score) for score in column.scores])
    return list(columns.values())


def finite(score: Score) -> Score:
    """The score; a sentence in place of what is no number, which would make the mean one too."""
    return score if isinstance(score, str) or np.isfinite(score) else "no number came out"


def summarize(column: Column, *, voices: Sequence[str | None], missing: int, resamples: int, seed: int) -> Summary:
    """Mean over the scored utterances, each of equal weight. `voices`: of every utterance; `missing`: of how many there
    is no sound."""
    scored = [(score, voice) for score, voice in zip(column.scores, voices, strict=True) if not isinstance(score, str)]
    values = np.array([score for score, _ in scored], dtype=np.float64)
    reasons = Counter(score for score in column.scores if isinstance(score, str))
    groups = numbered([voice for _, voice in scored])
    low, high = interval(values, groups, resamples=resamples, seed=seed)
    return Summary(
        mean=float(values.mean()) if len(values) else None,
        low=low,
        high=high,
        total=len(voices),
        scored=len(values),
        voices=len(np.unique(groups)),
        missing=missing,
        unscored=dict(sorted(reasons.items())),
    )


def numbered(voices: Sequence[str | None]) -> NDArray[np.int64]:
    """A number a voice, from 0 on; what is in nobody's voice is a voice of its own."""
    known: dict[object, int] = {}
    names = [(place,) if voice is None else voice for place, voice in enumerate(voices)]
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)


def interval(
    values: NDArray[np.float64], groups: NDArray[np.int64], *, resamples: int, seed: int
) -> tuple[float, float] | tuple[None, None]:
    """Percentile bootstrap of the mean, 2.5 % to 97.5 %, that draws whole groups: what one voice says is not
    independent, and drawn one by one would make the interval too narrow (the blockwise bootstrap of Liu and Peng 2020).
    Nothing from fewer than two groups.

    Shapes: `values` and the number of the group of each, from 0 on, (utterances,).
    """
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups)
    if len(sizes) < 2:
        return None, None
    random = np.random.default_rng(seed)
    draws = (random.integers(len(sizes), size=len(sizes)) for _ in range(resamples))
    low, high = np.percentile([sums[drawn].sum() / sizes[drawn].sum() for drawn in draws], [2.5, 97.5])
    return float(low), float(high)


def table(
    systems: Mapping[str, Sequence[Utterance]], metrics: Sequence[Entry], *, resamples: int, seed: int
) -> dict[str, Any]:
    """All that was measured, as plain data: per system a summary a metric, and every utterance with its scores."""
    out: dict[str, Any] = {}
    for name, utterances in systems.items():
        columns = measure(metrics, utterances)
        told = [facts_of(utterance) for utterance in utterances]
        voices, missing = [facts["voice"] for facts in told], sum(facts["seconds"] is None for facts in told)
        summaries = [summarize(c, voices=voices, missing=missing, resamples=resamples, seed=seed) for c in columns]
        out[name] = {
            "metrics": {
                c.name: {**asdict(summary), "better": c.better, "unit": c.unit, "how": c.how}
                for c, summary in zip(columns, summaries, strict=True)
            },
            "finish": dict(Counter(f["finish"] or ("missing" if f["seconds"] is None else "none") for f in told)),
            "utterances": [
                {
                    **facts,
                    "scores": {c.name: c.scores[number] for c in columns},
                    "notes": {c.name: c.notes[number] for c in columns if c.notes},
                }
                for number, facts in enumerate(told)
            ],
        }
    return out


def facts_of(utterance: Utterance) -> dict[str, Any]:
    """All that is known of an utterance beside its sound and its scores."""
    names = ("key", "text", "language", "voice", "seconds", "finish", "problem")
    return {name: getattr(utterance, name) for name in names}


def timing(utterances: Sequence[Utterance]) -> dict[str, float | None]:
    """How long the making took, on the machine that did it; apart from the scores, since it is never the same twice."""
    pairs = [(u.making_seconds, u.seconds) for u in utterances if u.making_seconds is not None and u.seconds]
    spent, sound = sum(p[0] for p in pairs), sum(p[1] or 0.0 for p in pairs)
    return {"making_seconds": spent, "audio_seconds": sound, "real_time_factor": spent / sound if sound else None}
