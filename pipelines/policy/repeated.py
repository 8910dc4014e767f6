"""Which keys occur more than once among all segments that may be kept: nothing has to be remembered of any other."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.hashes import Hash, Hashes

KEYS = re.compile(rb'"key":"([0-9a-f]{16})[0-9a-f]{10}"')
"""In the result of a unit. Within a text, the quotation marks would be escaped."""


@dataclass(frozen=True)
class Repeated:
    """The keys that occur more than once, and perhaps a few others: their first 16 digits, as numbers in order."""

    numbers: Hash

    def __contains__(self, key: object) -> bool:
        number = hashes_of([str(key)[:16].encode()])
        at = int(np.searchsorted(self.numbers, number[0]))
        return at < len(self.numbers) and self.numbers[at] == number[0]


def repeated_keys(results: Iterable[Path]) -> Repeated:
    """Of all results of units, by their bytes: a few microseconds a segment, and 8 bytes of memory while they are read.

    Raises: OSError
    """
    met, found = Hashes(), list[Hash]()
    for path in results:
        twice = met.add(hashes_of(KEYS.findall(path.read_bytes())))
        if len(twice):
            found.append(twice)
    return Repeated(np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64))


def hashes_of(digits: list[bytes]) -> Hash:
    """16 hexadecimal digits each, as numbers."""
    return np.frombuffer(bytes.fromhex(b"".join(digits).decode()), dtype=np.int64)
