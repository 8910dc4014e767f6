"""What is validated on shares no speaker and no recording with what is trained on."""

import time
from typing import Any

import numpy as np
import pyarrow
import pytest

from training.data.holdout import Identities, Split, divided, hashes_of, identities, lowest


def index(count: int, *, recordings: int, speakers: int = 0, first: int = 0) -> pyarrow.Table:
    """Rows of an index, as `Rows.columns` gives them; sample n is of recording n modulo `recordings`."""
    numbers = range(first, first + count)
    found: dict[str, list[str | None]] = {
        "key": [f"key{n}" for n in numbers],
        "recording_sha256": [f"{n % recordings:064x}" for n in numbers],
        "given_speaker": [f"speaker {n % recordings % speakers}" if speakers else None for n in numbers],
    }
    return pyarrow.table({name: pyarrow.array(words, pyarrow.string()) for name, words in found.items()})


def shared(table: pyarrow.Table, split: Split, column: str) -> set[str]:
    """What held-out samples and those that are trained on have in common."""
    words = np.array(table[column].to_pylist())
    return {*words[split.held_N]} & {*words[~split.held_N & ~split.aside_N]} - {None}


@pytest.mark.parametrize(
    ("recordings", "speakers", "by"), [(600, 60, "speaker"), (600, 5, "recording"), (600, 0, "recording")]
)
def test_no_recording_and_no_named_speaker_is_on_both_sides(recordings: int, speakers: int, by: str) -> None:
    table = index(6000, recordings=recordings, speakers=speakers)
    (split,) = divided([identities(table, corpus="one")], share=0.1)
    assert split.by == by
    assert 0.03 < split.held_N.mean() < 0.25
    assert not shared(table, split, "recording_sha256")
    assert bool(shared(table, split, "given_speaker")) == (by != "speaker" and speakers > 0)
    assert not split.aside_N.any()


def test_a_recording_of_a_held_out_speaker_is_not_trained_on_by_who_else_speaks_in_it() -> None:
    table = index(3000, recordings=300)
    guests = [f"speaker {(n + (n // 300 % 4 == 0)) % 300}" for n in range(3000)]
    table = table.set_column(2, "given_speaker", pyarrow.array(guests))
    (split,) = divided([identities(table, corpus="one")], share=0.05)
    assert split.by == "speaker"
    assert 0 < split.aside_N.mean() < 0.3
    assert not shared(table, split, "recording_sha256")
    assert not shared(table, split, "given_speaker")


def test_a_side_depends_on_no_seed_and_stays_when_the_corpus_grows() -> None:
    few, many = (identities(index(n, recordings=4000, speakers=200), corpus="one") for n in (2000, 4000))
    small, large = (divided([one], share=0.1)[0] for one in (few, many))
    by_key = dict(zip(many.key_N.tolist(), large.held_N.tolist(), strict=True))
    same = [by_key[key] == held for key, held in zip(few.key_N.tolist(), small.held_N.tolist(), strict=True)]
    assert small.held_N.any()
    assert all(same)
    wider = divided([few], share=0.3)[0]
    assert (wider.held_N | ~small.held_N).all()


def test_of_a_tiny_corpus_something_is_held_out() -> None:
    for count, recordings, by in ((40, 10, "recording"), (40, 2, "sample"), (8, 1, "sample")):
        (split,) = divided([identities(index(count, recordings=recordings), corpus="one")], share=1e-9)
        assert (split.by, bool(split.held_N.any())) == (by, True)
        assert split.held_N.mean() <= 1 / 8
    (none,) = divided([identities(index(7, recordings=7), corpus="one")], share=1e-9)
    assert not none.held_N.any()


def test_the_one_voice_that_a_corpus_is_made_of_is_not_held_out() -> None:
    table = index(1000, recordings=100)
    voices = [f"guest {n % 100}" if n % 100 < 30 else "host" for n in range(1000)]
    host = np.array([voice == "host" for voice in voices])
    for name in ("host", *(f"host {n}" for n in range(200))):
        words = [name if voice == "host" else voice for voice in voices]
        own = table.set_column(2, "given_speaker", pyarrow.array(words))
        (split,) = divided([identities(own, corpus="one")], share=0.1)
        assert not split.held_N[host].any()
        assert split.held_N.any()


def part_of(table: pyarrow.Table, chosen: Any, *, corpus: str = "one") -> Identities:
    return identities(table.take(np.flatnonzero(chosen)), corpus=corpus)


@pytest.mark.parametrize("recordings", [1, 40])
def test_no_part_of_a_mixture_trains_on_what_another_part_holds_out(recordings: int) -> None:
    table = index(60, recordings=recordings)
    numbers = np.arange(60)
    first = lowest(hashes_of(table["key"]), share=1e-9)
    masks = [numbers % 3 != 0, np.ones(60, dtype=bool), ~first]
    parts = [part_of(table, mask) for mask in masks]
    alone = [divided([part], share=1e-9)[0] for part in parts]
    splits = divided(parts, share=1e-9)
    held = {key for part, one in zip(parts, splits, strict=True) for key in part.key_N[one.held_N].tolist()}
    trained = {
        key for part, one in zip(parts, splits, strict=True) for key in part.key_N[~one.held_N & ~one.aside_N].tolist()
    }
    assert all(one.held_N.any() for one in splits)
    assert not held & trained
    assert all(one.held_N.sum() < len(one.held_N) for one in alone)
    if recordings == 1:  # parted each by itself, they would train on what the others hold out
        by_itself = {key for part, one in zip(parts, alone, strict=True) for key in part.key_N[~one.held_N].tolist()}
        assert held & by_itself


def test_speakers_of_one_name_in_two_corpora_are_two_speakers() -> None:
    many = identities(index(600, recordings=60, speakers=60), corpus="many")
    held = sorted(set(np.array([f"speaker {n % 60}" for n in range(600)])[divided([many], share=0.1)[0].held_N]))
    own = index(100, recordings=10, first=10_000_000)
    own = own.set_column(1, "recording_sha256", pyarrow.array([f"{n % 10 + 5000:064x}" for n in range(100)]))
    own = own.set_column(2, "given_speaker", pyarrow.array([held[0]] * 100))
    for corpus, aside in (("other", False), ("many", True)):
        split = divided([many, identities(own, corpus=corpus)], share=0.1)[1]
        assert bool(split.aside_N.any()) == aside


def test_a_held_out_key_stays_held_out_in_a_larger_corpus() -> None:
    keys = [f"key{n}" for n in range(200)]
    few, many = lowest(hashes_of(keys[:100]), share=0.1), lowest(hashes_of(keys), share=0.1)
    assert few.tolist() == many[:100].tolist()
    assert 8 <= many.sum() <= 35
    longer = lowest(hashes_of([*keys, "a key of another length"]), share=0.1)
    assert longer[:200].tolist() == many.tolist()


def test_a_million_keys_are_held_out_or_not_in_a_moment() -> None:
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", dtype=np.uint8)
    keys = letters[rng.integers(0, 32, (1_000_000, 26))].tobytes()
    column = pyarrow.array([keys[n : n + 26].decode() for n in range(0, len(keys), 26)])
    began = time.process_time()
    held = lowest(hashes_of(column), share=0.01)
    assert time.process_time() - began < 1.5  # 0.03; one after the other, they take seconds
    assert held.mean() == pytest.approx(0.01, rel=0.05)
    assert lowest(hashes_of(column[500:].to_pylist()), share=0.01).tolist() == held[500:].tolist()


def test_many_samples_are_divided_in_a_moment() -> None:
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", dtype=np.uint8)
    data = letters[rng.integers(0, 32, (300_000, 26))].tobytes().decode()
    keys = pyarrow.array([data[n : n + 26] for n in range(0, len(data), 26)])
    table = pyarrow.table({"key": keys, "recording_sha256": keys, "given_speaker": pyarrow.nulls(len(keys))})
    table = pyarrow.table({name: pyarrow.chunked_array([table[name].combine_chunks()]) for name in table.column_names})
    began = time.process_time()
    (split,) = divided([identities(table, corpus="one")], share=0.01)
    assert time.process_time() - began < 4  # 0.2; one after the other, they take many times as long
    assert split.held_N.mean() == pytest.approx(0.01, rel=0.05)
    again = hashes_of(keys[500:1500].to_pylist())
    assert lowest(again, share=0.01).tolist() == split.held_N[500:1500].tolist()
