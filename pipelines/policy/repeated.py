"""Which keys occur more than once among all segments that may be kept: nothing has to be remembered of any other."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.hashes import Hash, Hashes, inside

KEYS = re.compile(rb'"key":"([0-9a-f]{16})[0-9a-f]{10}"')
"""In the result of a unit. Within a text, the quotation marks would be escaped."""


@dataclass(frozen=True)
class Repeated:
    """The keys that occur more than once, and perhaps a few others: their first 16 digits, as numbers in order."""

    numbers: Hash

    def among(self, keys: list[bytes]) -> set[bytes]:
        """Those of them (16 digits each) that occur more than once."""
        return {key for key, again in zip(keys, inside(self.numbers, hashes_of(keys)).tolist(), strict=True) if again}


def repeated_keys(hashes: Iterable[Hash]) -> Repeated:
    """Of the keys in all results of units (`keys_in`), with 8 bytes of memory a key while they come."""
    met, found = Hashes(), list[Hash]()
    for some in hashes:
        twice = met.add(some)
        if len(twice):
            found.append(twice)
    return Repeated(np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64))


def keys_in(results: Iterable[Path]) -> Hash:
    """Of the results of some units, by their bytes: a few microseconds a segment.

    Raises: OSError
    """
    return hashes_of([key for path in results for key in KEYS.findall(path.read_bytes())])


def hashes_of(digits: list[bytes]) -> Hash:
    """16 hexadecimal digits each, as numbers."""
    return np.frombuffer(bytes.fromhex(b"".join(digits).decode()), dtype=np.int64)
