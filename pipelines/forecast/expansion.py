"""From a stratified sample to all recordings: ratio estimators, and bootstrap intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALONE = 3
"""Recordings of a stratum from which it is estimated by itself; those with fewer are estimated together."""
RESAMPLES = 1000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Amount:
    """A number, and the bounds between which it lies for about nine of ten samples like this one.

    The bootstrap aims at 95 of 100. Of 150 samples of 40 out of 147 recordings of thirteen kinds, 90 of 100 held the
    truth for the hours kept, with a mean error of 7 %; of samples of 80 as well, with 3 %.
    """

    value: float
    low: float
    high: float

    def scaled(self, by: float) -> "Amount":
        """In another unit."""
        return Amount(self.value * by, self.low * by, self.high * by)


@dataclass(frozen=True)
class Ran:
    """What the chain made of one recording of the sample."""

    stratum: int
    seconds: float
    """As it was expected to be long."""
    whole: bool
    """Not only a part of it."""
    found: Mapping[str, float]


def expanded(
    ran: Sequence[Ran], stratum: NDArray[np.int64], seconds: Floats, *, random: np.random.Generator
) -> dict[str, Amount]:
    """From the sample to all recordings: a ratio to their lengths in each cell of strata, and a bootstrap within cells.

    Cochran, Sampling Techniques (1977), 6.10 and 6.11: the separate ratio estimator, and the combined one where strata
    share a cell. Deviations are shrunk by the root of what was not sampled, so that a sample of everything is sure.
    """
    names = sorted({name for one in ran for name in one.found})
    found_NK = np.array([[one.found.get(name, 0.0) for name in names] for one in ran])
    length_N = np.array([max(one.seconds, 1e-3) for one in ran])
    cell_of = cells([one.stratum for one in ran], count=int(stratum.max()) + 1)
    cell_N = cell_of[[one.stratum for one in ran]]
    count = int(cell_of.max()) + 1
    stands_N = standing_for([one.stratum for one in ran], length_N, stratum, seconds)
    whole_C = np.bincount(cell_of[stratum], weights=np.maximum(seconds, 1e-3), minlength=count)
    seen_C = np.bincount(cell_N, weights=[one.whole for one in ran], minlength=count)
    unseen_C = np.sqrt(np.clip(1 - seen_C / np.bincount(cell_of[stratum], minlength=count), 0, 1))

    def totals(weight_BN: Floats) -> Floats:
        sums_BK = np.zeros((len(weight_BN), len(names)))
        for cell in range(count):
            mine = cell_N == cell
            if mine.any():
                both_BN = weight_BN[:, mine] * stands_N[mine]
                sums_BK += both_BN @ found_NK[mine] / (both_BN @ length_N[mine])[:, np.newaxis] * whole_C[cell]
        return sums_BK

    weight_BN = np.ones((RESAMPLES, len(ran)))
    for cell in range(count):
        mine = np.flatnonzero(cell_N == cell)
        if len(mine) > 1:
            drawn_BN = bootstrap_counts(len(mine), times=RESAMPLES, random=random)
            weight_BN[:, mine] += unseen_C[cell] * (drawn_BN - 1)
    value_K = totals(np.ones((1, len(ran))))[0]
    low_K, high_K = np.percentile(totals(weight_BN), (2.5, 97.5), axis=0)
    parts = zip(names, value_K.tolist(), low_K.tolist(), high_K.tolist(), strict=True)
    return {name: Amount(value, low, high) for name, value, low, high in parts}


def bootstrap_counts(count: int, *, times: int, random: np.random.Generator) -> Floats:
    """How often each of `count` is drawn, on average once: one draw fewer than there are, as Rao and Wu (1988) have it.

    Drawing as many as there are would tell too small a spread of small samples. Shape: times, count.
    """
    drawn = random.multinomial(count - 1, np.full(count, 1 / count), size=times)
    return np.asarray(drawn * (count / (count - 1)), np.float64)


def standing_for(sampled: Sequence[int], length_N: Floats, stratum: NDArray[np.int64], seconds: Floats) -> Floats:
    """For how many seconds of its stratum a sampled second stands."""
    count = int(stratum.max()) + 1
    whole = np.bincount(stratum, weights=np.maximum(seconds, 1e-3), minlength=count)
    drawn = np.bincount(sampled, weights=length_N, minlength=count)
    return np.asarray((whole / np.maximum(drawn, 1e-9))[list(sampled)])


def cells(sampled: Sequence[int], *, count: int) -> NDArray[np.int64]:
    """Stratum -> its cell: one of its own where it was sampled well enough, else one that it shares."""
    drawn = np.bincount(np.asarray(sampled, dtype=np.int64), minlength=count)
    alone = drawn >= ALONE
    cell = np.full(count, int(alone.sum()), dtype=np.int64)
    cell[alone] = np.arange(int(alone.sum()))
    if alone.any() and drawn[~alone].sum() < ALONE:
        cell[~alone] = cell[int(drawn.argmax())]  # too few even together: as the stratum that is known best
    return cell
