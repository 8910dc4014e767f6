"""Which utterances a step sees: a pure function of (seed, step), dealt to any number of workers.

Every part of the mixture is an endless stream: one seeded permutation of its samples after another. A pool is the
next few thousand samples of all streams, each part by its share of seconds. A pool is sorted by length and cut into
lots of about equal audio; the lots are shuffled, and a step takes the next few. So the samples of any step cost the
work of one pool, whatever came before, and there is nothing to remember but the seed and the step.
A step is dealt to `world * accumulation` micro-batches by lots: the workers change who reads a sample, never which
ones are read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.objects import Place
from training.data.mixture import shares
from training.data.permutation import Permutation, seed_of
from training.data.stream import Source, open_sources
from training.declared import least_seconds, needs_text
from training.manifest import Data, StageManifest

POOL = 16_384
"""Samples that are sorted together, about. Padding falls with it, and the first batch of a start costs its sorting."""

PLAN = 1
"""Raised when other samples are in the steps of the same sources: who heard what is followed through the plan, and of
a stage that was trained by another one nothing false may be said (training.heard)."""
UNEVEN = 0.1
"""How far the audio of a step may be from what was asked for before it is told."""


class Pick(NamedTuple):
    """A sample: part of the mixture, and number in its corpus."""

    part: int
    number: int


@dataclass(frozen=True)
class Share:
    """One micro-batch of one worker."""

    picks: list[Pick]
    idle: bool = False
    """There were fewer samples than micro-batches: a repeated one, which must not count."""


def sources_of(
    manifest: StageManifest, *, folders: Mapping[str, str | Path | Place], memory: Path | None = None
) -> list[Source]:
    """The mixture of a stage, as its objective takes samples (training.data.stream.open_sources)."""
    return open_sources(
        manifest.data,
        folders=folders,
        needs_text=needs_text(manifest.objective.name),
        least_seconds=least_seconds(manifest.objective),
        memory=memory,
    )


def plan_of(manifest: StageManifest, sources: Sequence[Source]) -> "Plan":
    """The order of the samples of a stage.

    Raises: DataError when there is too little data for the cap on repeats.
    """
    data: Data = manifest.data
    return Plan(
        sources,
        manifest.seed,
        data.seconds_per_step,
        lot_seconds=data.lot_seconds,
        shares=shares(sources, data, steps=manifest.steps),
    )


@dataclass(frozen=True)
class Plan:
    """The order of all samples of a stage."""

    sources: Sequence[Source]
    seed: int
    seconds_per_step: float
    lot_seconds: float = 120.0
    shares: Sequence[float] | None = None
    """Of the seconds, by part; None takes the weights of the sources."""
    pool_samples: int = POOL

    def step(self, step: int) -> list[Pick]:
        """All samples of a step, longest first."""
        return [pick for lot in self.lots(step) for pick in lot]

    def lots(self, step: int) -> list[list[Pick]]:
        """The lots of a step, longest first, each of samples of about equal length."""
        pool, place = divmod(step, self.steps_in_pool)
        samples, lots = self._pool(pool)
        order = Permutation(len(lots), seed_of(self.seed, "lots", pool))
        taken = np.sort(order(np.arange(place * self.lots_in_step, (place + 1) * self.lots_in_step)))
        return [[Pick(part, number) for part, number in samples[lots[lot]].tolist()] for lot in taken]

    def share(self, step: int, *, rank: int, world: int, accumulation: int) -> list[Share]:
        """The micro-batches of one worker in a step."""
        groups = deal(self.lots(step), self.lengths, groups=world * accumulation)
        return groups[rank * accumulation : (rank + 1) * accumulation]

    def lengths(self, pick: Pick) -> int:
        """Patches of a sample."""
        return int(self.sources[pick.part].patches[pick.number])

    def samples(self, pool: int) -> NDArray[np.int64]:
        """(part, number) of all samples that the steps of a pool see: (N, 2)."""
        return self._pool(pool)[0]

    @cached_property
    def takes(self) -> list[int]:
        """Samples that each part gives to an epoch: an epoch is as long as all parts together, shared by seconds."""
        total = sum(source.seconds for source in self.sources)
        weights = [source.weight for source in self.sources]
        given = self.shares or [weight / sum(weights) for weight in weights]
        return [
            max(1, round(total * share * len(source.numbers) / source.seconds))
            for share, source in zip(given, self.sources, strict=True)
        ]

    @cached_property
    def pools(self) -> int:
        """Pools of an epoch."""
        return max(1, round(sum(self.takes) / self.pool_samples))

    @cached_property
    def steps_in_pool(self) -> int:
        """Steps of a pool; every pool has the same number of them, so a step knows its pool."""
        total = sum(source.seconds for source in self.sources)
        return max(1, min(round(total / self.pools / self.seconds_per_step), self._fewest))

    @cached_property
    def lots_in_step(self) -> int:
        """Lots of a step."""
        return max(1, min(round(self.seconds_per_step / self.lot_seconds), self._fewest // self.steps_in_pool))

    @property
    def steps_in_epoch(self) -> int:
        """Steps until every part has given its samples of an epoch."""
        return self.pools * self.steps_in_pool

    def uneven(self, *, asked: float) -> str:
        """A sentence where a step has not about the `asked` seconds; nothing where it has."""
        found = sum(source.seconds for source in self.sources) / self.steps_in_epoch
        if abs(found / asked - 1) <= UNEVEN:
            return ""
        steps = f"{self.steps_in_epoch} step{'s' * (self.steps_in_epoch > 1)}"
        return f"a step has {found:.1f} s of audio, and not {asked:g}: all that there is makes {steps}"

    @property
    def _fewest(self) -> int:
        """No pool has fewer samples."""
        return max(1, sum(take // self.pools for take in self.takes))

    @cached_property
    def _pool(self) -> Callable[[int], tuple[NDArray[np.int64], list[Any]]]:
        return lru_cache(2)(self._make)

    def _make(self, pool: int) -> tuple[NDArray[np.int64], list[Any]]:
        """(part, number) of the samples of a pool, longest first, and the slices that are its lots."""
        found, lengths = [], []
        for part, source in enumerate(self.sources):
            numbers = self._from(part, pool)
            found.append(np.stack([np.full_like(numbers, part), numbers], axis=1))
            lengths.append(source.patches[numbers])
        samples, length = np.concatenate(found), np.concatenate(lengths).astype(np.int64)
        order = np.argsort(-length, kind="stable")
        ends = cut(length[order], pieces=self.steps_in_pool * self.lots_in_step)
        return samples[order], [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def _from(self, part: int, pool: int) -> NDArray[np.int64]:
        """Numbers of the samples that a part gives to a pool: the next ones of its endless stream."""
        own = self.sources[part].numbers
        position, end = (self.takes[part] * number // self.pools for number in (pool, pool + 1))
        found = [own[:0]]
        while position < end:
            cycle, offset = divmod(position, len(own))
            until = min(len(own), offset + end - position)
            order = Permutation(len(own), seed_of(self.seed, f"part {part}", cycle))
            found.append(own[order(np.arange(offset, until))])
            position += until - offset
        return np.concatenate(found)


def cut(length_N: NDArray[np.int64], *, pieces: int) -> list[int]:
    """Ends of `pieces` consecutive pieces of about equal summed length, none of them empty; needs as many items."""
    numbers = np.arange(1, pieces)
    ends = np.searchsorted(np.cumsum(length_N) - length_N / 2, length_N.sum() * numbers / pieces)
    ends = np.maximum.accumulate(np.maximum(ends, numbers) - numbers) + numbers  # each at least one after the last
    ends = np.minimum(ends, len(length_N) - pieces + numbers)
    return [*ends.tolist(), len(length_N)]


def deal(lots: Sequence[Sequence[Pick]], lengths: Callable[[Pick], int], *, groups: int) -> list[Share]:
    """Sorted lots in exactly `groups` micro-batches: whole neighboring lots, or parts of one; idle where too few."""
    if groups <= len(lots):
        bounds = [len(lots) * group // groups for group in range(groups + 1)]
        whole = zip(bounds, bounds[1:], strict=False)
        return [Share([pick for lot in lots[start:end] for pick in lot]) for start, end in whole]
    bounds = [groups * number // len(lots) for number in range(len(lots) + 1)]
    return [
        share
        for lot, start, end in zip(lots, bounds, bounds[1:], strict=False)
        for share in split(lot, lengths, pieces=end - start)
    ]


def split(lot: Sequence[Pick], lengths: Callable[[Pick], int], *, pieces: int) -> list[Share]:
    """One lot in exactly `pieces` micro-batches of about equal audio; idle ones where it has too few samples."""
    if len(lot) <= pieces:
        return [Share([pick]) for pick in lot] + [Share([lot[-1]], idle=True)] * (pieces - len(lot))
    ends = cut(np.array([lengths(pick) for pick in lot]), pieces=pieces)
    return [Share(list(lot[start:end])) for start, end in zip([0, *ends], ends, strict=False)]
