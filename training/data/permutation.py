"""A seeded permutation of 0..size-1 that is never written down: position -> number in constant time and memory.

A Feistel network over the smallest power of two that holds `size`, walked along its cycles until it lands inside
(Black and Rogaway 2002, "Ciphers with arbitrary finite domains"); on average less than two walks.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6


def seed_of(seed: int, name: str, number: int) -> int:
    """64 bits for one named choice."""
    text = f"{seed}:{name}:{number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def mixed(value_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A good 64-bit hash of each number: the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    value_N = (value_N ^ (value_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value_N = (value_N ^ (value_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(value_N ^ (value_N >> np.uint64(31)))


@dataclass(frozen=True)
class Permutation:
    """One order of `size` things."""

    size: int
    seed: int

    def __call__(self, position_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers at these positions, each in 0..size-1."""
        found_N = self._once(np.asarray(position_N, dtype=np.uint64))
        outside_N = np.flatnonzero(found_N >= self.size)
        while len(outside_N):
            found_N[outside_N] = self._once(found_N[outside_N])
            outside_N = outside_N[found_N[outside_N] >= self.size]
        return found_N.astype(np.int64)

    def _once(self, value_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
        bits = max(2, (self.size - 1).bit_length())
        low, high = np.uint64(bits // 2), np.uint64(bits - bits // 2)
        one = np.uint64(1)
        left_N, right_N = value_N >> low, value_N & ((one << low) - one)
        for number, key in enumerate(self._keys):
            if number % 2:
                right_N = right_N ^ (mixed(left_N + key) & ((one << low) - one))
            else:
                left_N = left_N ^ (mixed(right_N + key) & ((one << high) - one))
        return (left_N << low) | right_N

    @cached_property
    def _keys(self) -> list[np.uint64]:
        return [np.uint64(seed_of(self.seed, "round", number)) for number in range(ROUNDS)]
