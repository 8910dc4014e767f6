"""Which samples a step sees does not depend on who reads them."""

import time
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from infra.manifest import digest
from training.data.batching import PLAN, Pick, Plan, cut, deal
from training.data.collate import patches_of
from training.data.mixture import shares
from training.data.permutation import Permutation
from training.data.stream import DataError, Source
from training.manifest import Data


@dataclass(frozen=True)
class Lengths:
    """A source without audio: what a plan needs of one."""

    numbers: np.ndarray
    held_out: np.ndarray
    patches: np.ndarray
    real: np.ndarray
    """Seconds before they are padded to patches."""
    weight: float = 1.0

    @property
    def seconds(self) -> float:
        return float(self.patches[self.numbers].sum()) * 0.16


def source(count: int, *, seed: int = 0, weight: float = 1.0, mean: float = 8.0) -> Source:
    """Log-normal lengths of 1 to 30 s."""
    sigma = 0.7
    seconds = np.random.default_rng(seed).lognormal(np.log(mean) - sigma**2 / 2, sigma, count).clip(1, 30)
    none = np.array([], dtype=np.int64)
    return Lengths(np.arange(count), none, patches_of(seconds), seconds, weight)  # type: ignore[return-value]


def own_seconds(plan: Plan, step: int) -> Counter[int]:
    """Patches of a step, by part."""
    found: Counter[int] = Counter()
    for pick in plan.step(step):
        found[pick.part] += plan.lengths(pick)
    return found


def test_any_number_of_workers_sees_the_same_samples() -> None:
    plan = Plan([source(300)], seed=3, seconds_per_step=120.0, lot_seconds=40.0)
    for step in (0, 1, 7, 40):
        whole = plan.step(step)
        for world, accumulation in ((1, 1), (2, 1), (4, 1), (1, 4), (2, 3), (64, 2)):
            dealt = [
                share
                for rank in range(world)
                for share in plan.share(step, rank=rank, world=world, accumulation=accumulation)
            ]
            assert len(dealt) == world * accumulation
            assert [pick for share in dealt if not share.idle for pick in share.picks] == whole


def test_a_plan_is_a_pure_function_of_seed_and_step() -> None:
    def plan(seed: int) -> Plan:
        return Plan([source(200)], seed=seed, seconds_per_step=60.0)

    late, early = plan(1), plan(1)
    assert late.step(50) == [early.step(step) for step in range(51)][50]
    assert plan(1).step(0) != plan(2).step(0)


def test_the_order_is_the_one_that_its_number_stands_for() -> None:
    """Where this fails on purpose, raise PLAN: else `stipple lineage` would say false things of trained stages."""
    lengths = 6 + (np.arange(900) * 37 % 180)
    none = np.array([], dtype=np.int64)
    parts = [
        Lengths(np.arange(n), none, lengths[:n], lengths[:n] * 0.16, weight) for n, weight in ((900, 1.0), (200, 2.0))
    ]
    plan = Plan(parts, seed=7, seconds_per_step=240.0, lot_seconds=60.0, pool_samples=200)  # type: ignore[arg-type]
    seen = [[list(pick) for pick in plan.step(step)] for step in (0, 1, 17, 40, 200)]
    assert (PLAN, digest(seen)[:16]) == (1, "6e6b11303cb318ae")


def test_every_sample_comes_once_an_epoch_and_in_another_order_the_next() -> None:
    plan = Plan([source(200)], seed=5, seconds_per_step=60.0, lot_seconds=20.0)
    orders = []
    first = 0
    for _ in range(3):
        steps = plan.steps_in_epoch
        picks = [pick for step in range(first, first + steps) for pick in plan.step(step)]
        assert sorted(picks) == [Pick(0, number) for number in range(200)]
        orders.append(picks)
        first += steps
    assert orders[0] != orders[1] != orders[2]


def test_every_sample_comes_once_an_epoch_that_has_many_pools() -> None:
    plan = Plan([source(900), source(300, seed=1)], seed=5, seconds_per_step=60.0, shares=None, pool_samples=100)
    plan = replace(plan, shares=[one.seconds / sum(s.seconds for s in plan.sources) for one in plan.sources])
    assert plan.pools == 12
    for first in (0, plan.steps_in_epoch):
        picks = [pick for step in range(first, first + plan.steps_in_epoch) for pick in plan.step(step)]
        assert sorted(picks) == [Pick(part, n) for part, count in ((0, 900), (1, 300)) for n in range(count)]


def test_a_mixture_keeps_its_shares_of_seconds() -> None:
    plan = Plan(
        [source(400, weight=3.0), source(100, seed=1, weight=1.0)], seed=5, seconds_per_step=200.0, pool_samples=80
    )
    seconds: Counter[int] = Counter()
    for step in range(2 * plan.steps_in_epoch):
        seconds += own_seconds(plan, step)
    assert seconds[0] / seconds[1] == pytest.approx(3.0, rel=0.02)
    windows = [own_seconds(plan, first) + own_seconds(plan, first + 1) for first in range(0, 8, 2)]
    assert all(0.3 < window[1] / window[0] * 3 < 3 for window in windows)  # mixed throughout, and not at the end


def test_shares_go_with_a_power_of_hours_and_repeats_are_capped() -> None:
    large, small = source(4000), source(40, seed=1)
    hours = [one.seconds / 3600 for one in (large, small)]
    data = {"seconds_per_step": hours[0] * 3600 / 100}
    even = shares([large, small], Data(**data), steps=100)
    assert even == [0.5, 0.5]
    rooted = shares([large, small], Data(**data, hours_power=0.5), steps=100)
    assert rooted[0] / rooted[1] == pytest.approx((hours[0] / hours[1]) ** 0.5)
    most = shares([large, small], Data(**data, hours_power=0.5, max_epochs=4), steps=100)
    assert most[1] == pytest.approx(4 * hours[1] / hours[0])
    assert sum(most) == pytest.approx(1)
    heavy = replace(small, weight=9.0)  # a weight does not lift the cap
    assert shares([large, heavy], Data(**data), steps=100) == [0.1, 0.9]
    assert shares([large, heavy], Data(**data, max_epochs=4), steps=100)[1] == pytest.approx(most[1])
    plan = Plan([large, small], 0, data["seconds_per_step"], shares=most, pool_samples=500)
    seen = Counter(pick for step in range(100) for pick in plan.step(step) if pick.part == 1)
    assert set(seen) == {Pick(1, number) for number in range(40)}
    assert max(seen.values()) <= 5
    with pytest.raises(DataError, match="asks for .* h of audio"):
        shares([large, small], Data(**data, max_epochs=4), steps=1000)


@pytest.mark.parametrize("seconds_per_step", [120.0, 960.0])
def test_padding_is_below_two_percent_at_120_seconds(seconds_per_step: float) -> None:
    (one,) = sources = [source(30_000)]
    plan = Plan(sources, seed=0, seconds_per_step=seconds_per_step)
    groups = round(seconds_per_step / 120)
    real = padded = 0.0
    totals, micros = [], []
    for step in range(round(40_000 / seconds_per_step)):
        for share in plan.share(step, rank=0, world=1, accumulation=groups):
            lengths = [plan.lengths(pick) for pick in share.picks]
            real += sum(float(one.real[pick.number]) for pick in share.picks)  # type: ignore[attr-defined]
            padded += max(lengths) * len(lengths) * 0.16
            micros.append(sum(lengths) * 0.16)
        totals.append(own_seconds(plan, step)[0] * 0.16)
    assert real / padded > 0.98  # to whole patches, too
    assert min(micros) > 120 - 31
    assert max(micros) < 120 + 31
    assert np.mean(totals) == pytest.approx(seconds_per_step, rel=0.01)


def test_a_step_of_many_lots_has_short_and_long_samples() -> None:
    plan = Plan([source(30_000)], seed=0, seconds_per_step=960.0)
    for step in (0, 1, 500):
        lengths = [plan.lengths(pick) for pick in plan.step(step)]
        assert max(lengths) > 2 * min(lengths)


@pytest.mark.parametrize(("count", "limit"), [(1_000_000, 0.5), (10_000_000, 5.0)])
def test_the_samples_of_a_late_step_are_found_at_once(count: int, limit: float) -> None:
    one = source(count)
    took = []
    for step in (10, 10_000, 1_000_000):  # ten times and more of the processor time that each takes
        began = time.process_time()
        plan = Plan([one], seed=0, seconds_per_step=120.0)
        assert len(plan.step(step)) >= 3
        took.append(time.process_time() - began)
    assert max(took) < limit


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000, 5000])
def test_a_permutation_has_every_number_once(size: int) -> None:
    found = Permutation(size, 9)(np.arange(size))
    assert sorted(found.tolist()) == list(range(size))
    if size > 60:
        assert found.tolist() != Permutation(size, 10)(np.arange(size)).tolist()
        places = np.arange(size)
        assert abs(np.corrcoef(places, found)[0, 1]) < 4 / size**0.5
        assert (np.diff(found) == 1).sum() < 12


def test_fewer_samples_than_micro_batches_leave_idle_ones() -> None:
    picks = [Pick(0, 0), Pick(0, 1)]
    shares = deal([picks], lambda pick: 5, groups=4)
    assert [share.idle for share in shares] == [False, False, True, True]
    assert all(share.picks for share in shares)


def test_deal_is_even_and_never_empty() -> None:
    picks = [Pick(0, n) for n in range(5)]
    lengths = [100, 1, 1, 1, 1]
    for lots in ([picks], [picks[:1], picks[1:]], [[pick] for pick in picks]):
        for groups in range(1, 12):
            shares = deal(lots, lambda pick: lengths[pick.number], groups=groups)
            assert len(shares) == groups
            assert [pick for share in shares if not share.idle for pick in share.picks] == picks
            assert all(share.picks for share in shares)


def test_cut_loses_nothing() -> None:
    length = np.array([5, 1, 1, 1, 9, 1])
    for pieces in range(1, 7):
        ends = cut(length, pieces=pieces)
        assert len(ends) == pieces
        assert ends[-1] == 6
        assert all(start < end for start, end in zip([0, *ends], ends, strict=False))
    assert cut(length, pieces=2) == [4, 6]
