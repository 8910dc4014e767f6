"""Which utterances a step sees: a pure function of (seed, step), dealt to any number of workers.

An epoch takes from every part of the mixture its share of seconds, shuffles it by the seed, cuts it into pools,
sorts each pool by length and cuts it into steps of about equal audio. A step is sorted by length and dealt, as
neighbors, to `world * accumulation` micro-batches: the workers change who reads a sample, never which ones are read.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.collate import PATCH, RATE_HZ
from training.data.stream import Source


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


@dataclass
class Plan:
    """The order of all samples of a stage. What it remembers are only epochs already worked out."""

    sources: Sequence[Source]
    seed: int
    seconds_per_step: float
    pool_steps: int = 1
    _epochs: list[list[NDArray[np.int64]]] = field(default_factory=list, repr=False)

    def step(self, step: int) -> list[Pick]:
        """All samples of a step, longest first."""
        first = 0
        for epoch in range(1 << 40):
            steps = self.epoch(epoch)
            if step < first + len(steps):
                return [Pick(int(part), int(number)) for part, number in steps[step - first]]
            first += len(steps)
        raise AssertionError("an epoch without a step")

    def share(self, step: int, *, rank: int, world: int, accumulation: int) -> list[Share]:
        """The micro-batches of one worker in a step."""
        groups = deal(self.step(step), self.lengths, groups=world * accumulation)
        return groups[rank * accumulation : (rank + 1) * accumulation]

    def lengths(self, pick: Pick) -> int:
        """Patches of a sample."""
        return int(self.sources[pick.part].patches[pick.number])

    def held_out(self, *, groups: int) -> list[Share]:
        """The held-out samples in `groups` micro-batches, or more where they hold more audio than so many steps."""
        picks = [Pick(part, int(n)) for part, source in enumerate(self.sources) for n in source.held_out]
        if not picks:
            return []
        picks.sort(key=lambda pick: (-self.lengths(pick), pick))
        seconds = sum(map(self.lengths, picks)) * PATCH / RATE_HZ
        return deal(picks, self.lengths, groups=max(groups, round(seconds / self.seconds_per_step)))

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """The steps of an epoch; each an array of (part, number), longest first."""
        while len(self._epochs) <= epoch:
            self._epochs.append(self._make(len(self._epochs)))
        return self._epochs[epoch]

    def _make(self, epoch: int) -> list[NDArray[np.int64]]:
        picks = np.concatenate([self._from(part, epoch) for part in range(len(self.sources))])
        picks = picks[random_of(self.seed, "epoch", epoch).permutation(len(picks))]
        length = np.array([self.lengths(Pick(int(part), int(number))) for part, number in picks])
        budget = max(1, round(self.seconds_per_step * RATE_HZ / PATCH))
        steps: list[NDArray[np.int64]] = []
        for pool in cut(length, pieces=max(1, round(length.sum() / (budget * self.pool_steps)))):
            order = pool[np.argsort(-length[pool], kind="stable")]
            pieces = max(1, round(length[order].sum() / budget))
            steps.extend(picks[order[piece]] for piece in cut(length[order], pieces=pieces))
        return [steps[n] for n in random_of(self.seed, "steps", epoch).permutation(len(steps))]

    def _from(self, part: int, epoch: int) -> NDArray[np.int64]:
        """(part, number) of the samples that a part gives to an epoch, from its endless stream of permutations."""
        source = self.sources[part]
        take = self.takes[part]
        found: list[NDArray[np.int64]] = []
        position = take * epoch
        while take > 0:
            cycle, offset = divmod(position, len(source.numbers))
            order = random_of(self.seed, f"part {part}", cycle).permutation(len(source.numbers))[offset : offset + take]
            found.append(source.numbers[order])
            position, take = position + len(order), take - len(order)
        numbers = np.concatenate(found)
        return np.stack([np.full_like(numbers, part), numbers], axis=1)

    @property
    def takes(self) -> list[int]:
        """Samples that each part gives to an epoch: an epoch is as long as all parts together, shared by weight."""
        means = [float(source.patches[source.numbers].mean()) for source in self.sources]
        total = sum(mean * len(source.numbers) for mean, source in zip(means, self.sources, strict=True))
        weights = sum(source.weight for source in self.sources)
        return [
            max(1, round(total * source.weight / weights / mean))
            for mean, source in zip(means, self.sources, strict=True)
        ]


def random_of(seed: int, name: str, number: int) -> np.random.Generator:
    """The generator of one named choice."""
    text = f"{seed}:{name}:{number}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


def cut(length: NDArray[np.int64], *, pieces: int) -> list[NDArray[np.int64]]:
    """Positions 0..n-1 in consecutive pieces of about equal summed length; none empty, so there may be fewer."""
    middle = np.cumsum(length) - length / 2
    piece = np.minimum((middle * pieces / length.sum()).astype(np.int64), pieces - 1)
    return [np.flatnonzero(piece == number) for number in np.unique(piece)]


def deal(picks: list[Pick], lengths: Callable[[Pick], int], *, groups: int) -> list[Share]:
    """Sorted samples in exactly `groups` micro-batches of neighbors, of about equal audio; idle ones where too few."""
    length = np.array([lengths(pick) for pick in picks])
    if len(picks) <= groups:
        return [Share([pick]) for pick in picks] + [Share([picks[-1]], idle=True)] * (groups - len(picks))
    ends = np.searchsorted(np.cumsum(length) - length / 2, length.sum() * np.arange(1, groups) / groups)
    ends = np.maximum(ends, np.arange(1, groups))
    ends = np.minimum(ends, len(picks) - groups + np.arange(1, groups))
    ends = np.maximum.accumulate(ends)
    bounds = [0, *ends.tolist(), len(picks)]
    return [Share(picks[start:end]) for start, end in zip(bounds, bounds[1:], strict=False)]
