"""Which samples of a corpus a stage trains on, holds out and leaves out, and what it reads of them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.policy.tombstones import FILE, Tombstone, append
from pipelines.shards import open_corpus
from training.data.batching import Plan
from training.data.collate import PATCH, collate
from training.data.draw import Draw
from training.data.stream import DataError, open_sources
from training.manifest import Bound, Data, Part


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
        seconds_per_step=10, held_out=0.8, mixture=(Part(tiers=("gold",), where={"mos_overall": Bound(min=3.0)}),)
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


def test_a_clip_too_long_for_its_text_is_left_out_where_text_is_needed_and_cropped_elsewhere(corpus: Path) -> None:
    data = Data(seconds_per_step=10, max_clip_seconds=2.5, held_out=0)
    long = {n for n, seconds in enumerate(open_corpus(corpus).seconds) if seconds > 2.5}
    (spoken,) = open_sources(data, folders={"data": corpus}, needs_text=True)
    (heard,) = open_sources(data, folders={"data": corpus}, needs_text=False)
    assert long
    assert long <= set(heard.numbers.tolist())
    assert not long & set(spoken.numbers.tolist())


def test_a_corpus_without_a_fitting_sample_is_a_sentence(corpus: Path) -> None:
    with pytest.raises(DataError, match="24 samples and none fits"):
        open_sources(Data(seconds_per_step=9, min_clip_seconds=20), folders={"data": corpus}, needs_text=True)
    bronze = Data(seconds_per_step=9, mixture=(Part(tiers=("bronze",)),))
    with pytest.raises(DataError, match=r"none fits \(.*, of the tiers bronze, where the corpus has gold, silver\)"):
        open_sources(bronze, folders={"data": corpus}, needs_text=True)
    with pytest.raises(DataError, match="role 'other'"):
        open_sources(Data(seconds_per_step=9, mixture=(Part(role="other"),)), folders={"data": corpus}, needs_text=True)


def test_a_clip_takes_as_much_of_a_step_as_the_objective_makes_of_it(corpus: Path) -> None:
    data = Data(seconds_per_step=12, max_clip_seconds=2.5)
    (true,) = open_sources(data, folders={"data": corpus}, needs_text=False)
    (cropped,) = open_sources(data, folders={"data": corpus}, needs_text=False, least_seconds=4.0)
    assert true.patches.max() == 16
    assert true.patches.min() < 13
    assert set(cropped.patches.tolist()) == {25}
    assert cropped.numbers.tolist() == true.numbers.tolist()
    plan = Plan([cropped], seed=1, seconds_per_step=12)
    assert {len(plan.step(step)) for step in range(plan.steps_in_epoch)} <= {2, 3}


def test_a_corpus_that_is_held_out_as_a_whole_is_a_sentence(corpus: Path) -> None:
    with pytest.raises(DataError, match="all 24 samples that fit are held out; lower data.held_out"):
        open_sources(Data(seconds_per_step=9, held_out=0.999999), folders={"data": corpus}, needs_text=False)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"mos_overal": {"min": 1}}, "the mixture asks for mos_overal, and no sample has one"),
        ({"language": {"min": 1}}, r"an interval of language, which is '\w\w'; name values, like language: \["),
    ],
)
def test_a_filter_that_fits_no_column_is_a_sentence(corpus: Path, where: dict[str, Any], words: str) -> None:
    data = Data(seconds_per_step=9, mixture=(Part.model_validate({"where": where}),))
    with pytest.raises(DataError, match=words):
        open_sources(data, folders={"data": corpus}, needs_text=False)


def test_what_a_tombstone_hides_is_neither_trained_nor_validated_on(corpus: Path, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    shutil.copytree(corpus, root)
    data = Data(seconds_per_step=10, held_out=0.3)
    (before,) = open_sources(data, folders={"data": root}, needs_text=False)
    gone = [before.read(int(numbers[0])).key for numbers in (before.numbers, before.held_out)]
    stone = Tombstone(
        field="key", values=tuple(gone), corpus=None, why="asked to", who="me", when="2026-01-01T00:00:00+00:00"
    )
    append(root / FILE, [stone])
    (after,) = open_sources(data, folders={"data": root}, needs_text=False)
    plan = Plan([after], 0, 10.0)
    read = {after.read(pick.number).key for step in range(plan.steps_in_epoch) for pick in plan.step(step)}
    held = {after.read(int(number)).key for number in after.held_out}
    assert len(read) == len(before.numbers) - 1
    assert len(held) == len(before.held_out) - 1
    assert not (read | held) & set(gone)
