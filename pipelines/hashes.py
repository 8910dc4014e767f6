"""Which of hundreds of millions of things were met before, in 8 bytes of memory each."""

import numpy as np
from numpy.typing import NDArray

Hash = NDArray[np.int64]


def inside(run: Hash, numbers: Hash) -> NDArray[np.bool_]:
    """Which numbers are in a run, which is in order."""
    if not len(run):
        return np.zeros(len(numbers), dtype=np.bool_)
    return np.asarray(run[np.minimum(np.searchsorted(run, numbers), len(run) - 1)] == numbers)


class Hashes:
    """Numbers of 64 bits that were met: 8 bytes each, 24 at the worst moment.

    They lie in sorted runs, each at least twice as long as the next, so that there are few, and each is seldom merged.
    """

    def __init__(self) -> None:
        self.runs: list[Hash] = []
        self.count = 0

    def known(self, numbers: Hash) -> NDArray[np.bool_]:
        """Which of them were added."""
        found = np.zeros(len(numbers), dtype=np.bool_)
        for run in self.runs:
            found |= inside(run, numbers)
        return found

    def add(self, numbers: Hash) -> Hash:
        """Add them, each once. Returns those that were met before, here or among themselves, in order."""
        run, times = np.unique(numbers, return_counts=True)
        old = self.known(run)
        repeated, run = run[old | (times > 1)], run[~old]
        self.count += len(run)
        while self.runs and len(self.runs[-1]) < 2 * len(run):
            run = np.concatenate([self.runs.pop(), run])
            run.sort(kind="stable")
        if len(run):
            self.runs.append(run)
        return repeated

    def both(self, other: "Hashes") -> Hash:
        """What is in both, in order."""
        found = [run[other.known(run)] for run in self.runs]
        return np.sort(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
