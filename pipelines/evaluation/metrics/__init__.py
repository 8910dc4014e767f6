"""How speech is scored: one file a metric. A metric is `Config` and `measure(utterances, cfg) -> list[Column]`.

It gives every utterance a value, or a sentence that says why there is none: nothing vanishes from a mean unsaid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from infra.manifest import resolve
from pipelines.clip import resampled
from pipelines.row import Wave


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """Something to be scored: what was made, what it should say, and what it is held against."""

    key: str
    text: str | None = None
    language: str | None = None
    voice: str | None = None
    """Who speaks, or the recording where nobody says who: utterances of one voice are not independent."""
    wave_S: Wave | None = None
    """None: it could not be made; `problem` says why, and it counts as missing everywhere."""
    rate_hz: int = 48000
    against_S: Wave | None = None
    """The input of a reconstruction, or the prompt whose voice the speech should have."""
    against_rate_hz: int = 48000
    against_text: str | None = None
    """What is said in it."""
    aligned: bool = False
    """Does every sample of `against` belong to the same moment of `wave`? True of reconstructions only."""
    finish: str | None = None
    making_seconds: float | None = None
    problem: str | None = None
    views: dict[tuple[str, int], Wave] = field(default_factory=dict, repr=False, compare=False)

    @property
    def seconds(self) -> float | None:
        """Duration of what was made."""
        return None if self.wave_S is None else len(self.wave_S) / self.rate_hz

    def at(self, rate_hz: int) -> Wave | None:
        """What was made, at another rate."""
        return self._view("wave", self.wave_S, self.rate_hz, rate_hz)

    def against(self, rate_hz: int) -> Wave | None:
        """What it is held against, at another rate."""
        return self._view("against", self.against_S, self.against_rate_hz, rate_hz)

    def _view(self, name: str, wave_S: Wave | None, from_hz: int, to_hz: int) -> Wave | None:
        if wave_S is None or from_hz == to_hz:
            return wave_S
        if (name, to_hz) not in self.views:
            self.views[name, to_hz] = resampled(wave_S, rate_hz=from_hz, to_hz=to_hz)
        return self.views[name, to_hz]


def checked(utterance: Utterance) -> Utterance:
    """The utterance; without its sound, and with the reason, where that is not finite: one such value spoils a mean."""
    if utterance.wave_S is None or np.isfinite(utterance.wave_S).all():
        return utterance
    return replace(utterance, wave_S=None, finish=None, problem="what came out has samples that are not numbers")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A voice to speak in."""

    key: str
    wave_S: Wave | None
    rate_hz: int
    text: str | None
    language: str | None
    voice: str
    """Who speaks, or the recording where nobody says who."""
    problem: str | None = None
    """Why there is no sound."""


Score = float | str
"""A value, or the sentence that says why there is none."""


@dataclass(frozen=True)
class Column:
    """One measure over all utterances, in their order."""

    name: str
    scores: Sequence[Score]
    better: Literal["higher", "lower", "neither"]
    how: str
    """What was measured with what: a sentence for the report."""
    unit: str = ""
    notes: Sequence[str] = ()
    """Beside each score what led to it, such as the text that was heard; none, or one an utterance."""
    by: str = ""
    """Who judges, in a word, where there is a choice."""


@cache
def backend(name: str, make: str, checkpoint: Path | None, device: str) -> Any:
    """What `make` of models/frozen/`name`.py makes, once a process: a large network hears several systems.

    Raises: WeightsError when its weights are not there.
    """
    return getattr(resolve("models.frozen", name), make)(checkpoint, device=device)


def pair_at(utterance: Utterance, rate_hz: int) -> tuple[Wave, Wave] | str:
    """What was made and what it is held against, cut to the same length; or why there is no such pair."""
    wave_S, against_S = utterance.at(rate_hz), utterance.against(rate_hz)
    if wave_S is None:
        return utterance.problem or "missing"
    if against_S is None or not utterance.aligned:
        return "nothing to compare it with, sample by sample"
    samples = min(len(wave_S), len(against_S))
    return wave_S[:samples], against_S[:samples]
