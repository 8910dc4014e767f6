"""What was met before is known, in a few bytes each."""

import tracemalloc

import numpy as np

from pipelines.hashes import Hashes


def test_what_was_met_before_is_known_and_what_comes_again_is_told() -> None:
    random, met, before = np.random.default_rng(0), Hashes(), set[int]()
    for _ in range(50):
        numbers = random.integers(0, 20_000, 300)
        assert met.known(numbers).tolist() == [number in before for number in numbers.tolist()]
        values, times = np.unique(numbers, return_counts=True)
        again = {int(n) for n, count in zip(values, times, strict=True) if count > 1 or int(n) in before}
        assert met.add(numbers).tolist() == sorted(again)
        before |= set(numbers.tolist())
        assert met.count == len(before)
    assert len(met.runs) <= 14


def test_it_takes_8_bytes_each_and_24_at_the_worst_moment() -> None:
    random, met = np.random.default_rng(0), Hashes()
    tracemalloc.start()
    for _ in range(200):
        met.add(random.integers(-(2**62), 2**62, 1000))
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 9 * met.count
    assert most < 24 * met.count + 100_000


def test_what_two_have_in_common() -> None:
    one, other = Hashes(), Hashes()
    for start in (0, 500):
        one.add(np.arange(start, start + 500))
    other.add(np.arange(900, 1200))
    assert one.both(other).tolist() == other.both(one).tolist() == list(range(900, 1000))
    assert Hashes().both(one).tolist() == []
