"""Clusters of vectors whose groups are known."""

import numpy as np
import pytest

from pipelines.clustering import linked, split_gain, unit


def voices(*counts: int, noise: float = 0.1, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors scattered about one random direction a voice, and whose each is."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    centers = unit(random.normal(size=(len(counts), width)).astype(np.float32))
    return unit((centers[labels] + noise * random.normal(size=(len(labels), width))).astype(np.float32)), labels


def same_groups(found: list[int], truth: np.ndarray) -> bool:
    return len(set(zip(found, truth.tolist(), strict=True))) == len(set(found)) == len(set(truth.tolist()))


def test_linked_finds_the_voices_and_their_number() -> None:
    vectors, labels = voices(5, 3, 9)
    assert same_groups(linked(vectors, same_cosine=0.4), labels)
    assert linked(vectors[:1], same_cosine=0.4) == [0]
    assert linked(vectors[:0], same_cosine=0.4) == []


def test_split_gain_is_large_only_where_the_voice_changes() -> None:
    vectors, _ = voices(8, 8)
    assert split_gain(vectors, spread=0.5) > 0.5 > split_gain(vectors[:8], spread=0.5)
    assert split_gain(vectors[6:], spread=0.5) > 0.5, "also where one voice has two windows only"


def test_unit_leaves_a_vector_of_zeros() -> None:
    assert np.linalg.norm(unit(np.ones(4, np.float32))) == pytest.approx(1)
    assert not unit(np.zeros(4, np.float32)).any()
