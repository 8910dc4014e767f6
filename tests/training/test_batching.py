"""Which samples a step sees does not depend on who reads them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipelines.shards import open_corpus
from training.data.batching import Pick, Plan, cut, deal
from training.data.collate import PATCH, collate, patches_of
from training.data.draw import Draw
from training.data.stream import DataError, Source, held_out_of, open_sources
from training.manifest import Bound, Data, Part


@dataclass(frozen=True)
class Lengths:
    """A source without audio: what a plan needs of one."""

    numbers: np.ndarray
    held_out: np.ndarray
    patches: np.ndarray
    weight: float = 1.0


def source(count: int, *, seed: int = 0, weight: float = 1.0) -> Source:
    seconds = np.clip(np.random.default_rng(seed).lognormal(1.9, 0.6, count), 1, 30)
    patches = np.array([patches_of(s) for s in seconds])
    return Lengths(np.arange(count), np.array([], dtype=np.int64), patches, weight)  # type: ignore[return-value]


def test_any_number_of_workers_sees_the_same_samples() -> None:
    plan = Plan([source(300)], seed=3, seconds_per_step=120.0, pool_steps=4)
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
        return Plan([source(200)], seed=seed, seconds_per_step=60.0, pool_steps=2)

    late, early = plan(1), plan(1)
    assert late.step(50) == [early.step(step) for step in range(51)][50]
    assert plan(1).step(0) != plan(2).step(0)


def test_every_sample_comes_once_an_epoch_and_in_another_order_the_next() -> None:
    plan = Plan([source(200)], seed=5, seconds_per_step=60.0, pool_steps=4)
    orders = []
    first = 0
    for epoch in range(3):
        steps = len(plan.epoch(epoch))
        picks = [pick for step in range(first, first + steps) for pick in plan.step(step)]
        assert sorted(picks) == [Pick(0, number) for number in range(200)]
        orders.append(picks)
        first += steps
    assert orders[0] != orders[1] != orders[2]


def test_a_mixture_keeps_its_shares_of_seconds() -> None:
    plan = Plan([source(400, weight=3.0), source(100, seed=1, weight=1.0)], seed=5, seconds_per_step=200.0)
    seconds: Counter[int] = Counter()
    for step in range(len(plan.epoch(0)) + len(plan.epoch(1))):
        for pick in plan.step(step):
            seconds[pick.part] += plan.lengths(pick)
    assert seconds[0] / seconds[1] == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize(("pool_steps", "efficiency"), [(1, 0.84), (8, 0.95)])
def test_padding_is_small_and_steps_hold_their_budget(pool_steps: int, efficiency: float) -> None:
    plan = Plan([source(2000)], seed=0, seconds_per_step=960.0, pool_steps=pool_steps)
    real = padded = 0
    totals = []
    for step in range(len(plan.epoch(0))):
        for share in plan.share(step, rank=0, world=1, accumulation=8):
            lengths = [plan.lengths(pick) for pick in share.picks]
            real, padded = real + sum(lengths), padded + max(lengths) * len(lengths)
        totals.append(sum(map(plan.lengths, plan.step(step))) * 0.16)
    assert real / padded > efficiency
    assert max(totals) < 960 * 1.1
    assert min(totals) > 960 * 0.8


def test_fewer_samples_than_micro_batches_leave_idle_ones() -> None:
    picks = [Pick(0, 0), Pick(0, 1)]
    shares = deal(picks, lambda pick: 5, groups=4)
    assert [share.idle for share in shares] == [False, False, True, True]
    assert all(share.picks for share in shares)


def test_deal_is_even_and_never_empty() -> None:
    picks = [Pick(0, n) for n in range(5)]
    lengths = [100, 1, 1, 1, 1]
    for groups in range(1, 6):
        shares = deal(picks, lambda pick: lengths[pick.number], groups=groups)
        assert [pick for share in shares for pick in share.picks] == picks
        assert all(share.picks for share in shares)


def test_cut_loses_nothing() -> None:
    length = np.array([5, 1, 1, 1, 9, 1])
    pieces = cut(length, pieces=3)
    assert np.concatenate(pieces).tolist() == list(range(6))
    assert all(len(piece) for piece in pieces)


def test_batches_are_48_khz_whole_patches_with_text(corpus: Path) -> None:
    (found,) = open_sources(Data(seconds_per_step=10), folders={"data": corpus}, needs_text=True)
    utterances = [found.read(int(number)) for number in found.numbers[:3]]
    batch = collate(utterances, max_clip_seconds=30, draw=Draw(0, 0, [one.key for one in utterances]))
    assert batch.wave_BS.shape == (3, int(batch.length_B.max()))
    assert all(int(length) % PATCH == 0 for length in batch.length_B)
    for number, one in enumerate(utterances):
        samples = len(one.wave_S) * 2
        assert samples <= int(batch.length_B[number]) < samples + PATCH
        assert batch.wave_BS[number, samples:].abs().max() == 0
        assert batch.texts[number] == one.text
    assert [found.patches[n] for n in found.numbers[:3]] == [int(length) // PATCH for length in batch.length_B]


def test_a_cropped_utterance_gives_its_text_up_and_moves_with_the_step(corpus: Path) -> None:
    (found,) = open_sources(
        Data(seconds_per_step=10, max_clip_seconds=0.64), folders={"data": corpus}, needs_text=False
    )
    one = found.read(int(found.numbers[0]))
    batches = [collate([one], max_clip_seconds=0.64, draw=Draw(0, step, [one.key])) for step in (0, 0, 1)]
    assert batches[0].texts == [""]
    assert batches[0].wave_BS.shape == (1, 4 * PATCH)
    assert batches[0].wave_BS.equal(batches[1].wave_BS)
    assert not batches[0].wave_BS.equal(batches[2].wave_BS)


def test_filters_text_and_held_out_samples(corpus: Path) -> None:
    whole = open_corpus(corpus)
    data = Data(
        seconds_per_step=10, held_out=0.2, mixture=(Part(tiers=("gold",), where={"mos_overall": Bound(min=3.0)}),)
    )
    (found,) = open_sources(data, folders={"data": corpus}, needs_text=True)
    used = {*found.numbers.tolist(), *found.held_out.tolist()}
    assert used == {
        n
        for n, row in enumerate(whole.rows)
        if row["tier"] == "gold" and row["mos_overall"] >= 3 and row["text"] is not None
    }
    assert not set(found.numbers) & set(found.held_out)
    assert len(found.held_out) >= 1


def test_a_held_out_key_stays_held_out_in_a_larger_corpus() -> None:
    keys = [f"key{n}" for n in range(200)]
    few, many = held_out_of(keys[:100], share=0.1), held_out_of(keys, share=0.1)
    assert few.tolist() == many[:100].tolist()
    assert 8 <= many.sum() <= 35


def test_a_corpus_without_a_fitting_sample_is_a_sentence(corpus: Path) -> None:
    with pytest.raises(DataError, match="24 samples and none fits"):
        open_sources(Data(seconds_per_step=9, min_clip_seconds=20), folders={"data": corpus}, needs_text=True)
    with pytest.raises(DataError, match="role 'other'"):
        open_sources(Data(seconds_per_step=9, mixture=(Part(role="other"),)), folders={"data": corpus}, needs_text=True)
