"""Clusters of vectors whose groups are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.frozen import Split
from pipelines.hearing.clustering import Vectors, joined, linked, spectral, split_gain, unit, voices_of

SPLIT = Split(window_seconds=1.5, hop_seconds=0.75, spread=0.5, limit=0.3, certain=0.45)


def voices(*counts: int, noise: float = 0.1, width: int = 64) -> tuple[Vectors, NDArray[np.int64]]:
    """Unit vectors scattered about one random direction a voice, and whose each is."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    centers = unit(random.normal(size=(len(counts), width)).astype(np.float32))
    return unit((centers[labels] + noise * random.normal(size=(len(labels), width))).astype(np.float32)), labels


def same_groups(found: list[int], truth: NDArray[np.int64]) -> bool:
    return len(set(zip(found, truth.tolist(), strict=True))) == len(set(found)) == len(set(truth.tolist()))


def test_linked_finds_the_voices_and_their_number() -> None:
    vectors, labels = voices(5, 3, 9)
    assert same_groups(linked(vectors, same_cosine=0.4), labels)
    assert linked(vectors[:1], same_cosine=0.4) == [0]
    assert linked(vectors[:0], same_cosine=0.4) == []


def test_the_widest_gap_of_the_spectrum_tells_the_number_of_voices() -> None:
    for counts in ((40, 25, 60), (30, 30), (80,)):
        vectors, labels = voices(*counts)
        assert same_groups(spectral(vectors, most=15), labels), counts
    assert spectral(vectors[:2], most=15) == [0, 0]


def test_the_spectrum_gives_the_same_groups_each_time() -> None:
    vectors, _ = voices(40, 25, 60, noise=0.2)
    assert spectral(vectors, most=15) == spectral(vectors, most=15)


def test_groups_join_while_they_are_too_alike_for_their_size() -> None:
    vectors, labels = voices(6, 6)
    halves = [0, 1] * 3 + [2, 3] * 3
    assert same_groups(joined(vectors, halves, weights=np.ones(12), split=SPLIT), labels)
    apart = unit(np.array([[1.0, 0.0], [0.5, 0.866]], dtype=np.float32))
    one, many = (joined(apart, [0, 1], weights=np.full(2, weight), split=SPLIT) for weight in (1.0, 16.0))
    assert one == [0, 0], "two single windows with a cosine of 0.5 may be one voice"
    assert many == [0, 1], "two means of sixteen are not"


@pytest.mark.parametrize("method", ["linkage", "spectral"])
def test_voices_are_founded_by_long_windows_and_joined_by_short_ones(method: str) -> None:
    vectors, labels = voices(12, 8, 10)
    seconds = np.full(30, 1.5)
    seconds[[3, 14, 25]] = 0.4
    found, centroids = voices_of(vectors, seconds=seconds, split=SPLIT, method=method, most=15)
    assert same_groups(found, labels)
    assert centroids.shape == (3, 64)


def test_of_more_voices_than_are_allowed_those_heard_longest_stay() -> None:
    vectors, labels = voices(12, 3, 10)
    found, centroids = voices_of(vectors, seconds=np.full(25, 1.5), split=SPLIT, method="linkage", most=2)
    assert len(centroids) == 2
    assert same_groups([label for label, voice in zip(found, labels, strict=True) if voice != 1], labels[labels != 1])


def test_a_single_short_window_is_a_voice() -> None:
    vectors, _ = voices(1)
    assert voices_of(vectors, seconds=np.array([0.3]), split=SPLIT, method="linkage", most=15)[0] == [0]


def test_split_gain_is_large_only_where_the_voice_changes() -> None:
    vectors, _ = voices(8, 8)
    assert split_gain(vectors, spread=0.5) > SPLIT.limit > split_gain(vectors[:8], spread=0.5)
    assert split_gain(vectors[6:], spread=0.5) > SPLIT.limit, "also where one voice has two windows only"


def test_split_gain_finds_a_voice_between_two_parts_of_another() -> None:
    first, other = np.split(voices(10, 3)[0], [10])
    assert split_gain(np.concatenate([first[:6], other, first[6:]]), spread=0.5) > SPLIT.limit
    one_odd_window = np.concatenate([first[:6], other[:1], first[6:]])
    assert split_gain(one_odd_window, spread=0.5) < SPLIT.limit, "a cough is no voice"


def test_unit_leaves_a_vector_of_zeros() -> None:
    assert np.linalg.norm(unit(np.ones(4, np.float32))) == pytest.approx(1)
    assert not unit(np.zeros(4, np.float32)).any()
