"""THE CONTRACT between those who make data and those who use it: what a sample is, and how to read one.

A corpus on disk:
    corpus.json                     name, digest, licenses, hours, schema, one entry a shard (sha256, bytes, samples)
    index.parquet                   one row a sample, in shard order: where it lies, and every score of its segment
    shards/shard-000000.tar         `<key>.flac` + `<key>.json` a sample, ustar, mtime 0, keys in order
The digest of the index is the version of the corpus: `name@digest`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class CorpusError(ValueError):
    """A folder that is not a whole corpus. The message is a sentence for a person."""


@dataclass(frozen=True)
class Sample:
    """One utterance out of a shard."""

    key: str
    wave_S: NDArray[np.float32]
    rate_hz: int
    record: dict[str, Any]
    """The segment (pipelines.row.Segment), as stored: `text_tts`, `text`, `language`, `speaker`, `seconds`, scores."""


@dataclass(frozen=True)
class Corpus:
    """An opened corpus: its index in memory, its shards read by offset, one sample at a time, in any order."""

    root: Path
    name: str
    digest: str
    licenses: Sequence[str]
    rows: Sequence[dict[str, Any]]
    """The index: the segment's fields, and `shard`, `flac_offset`, `flac_bytes`, `json_offset`, `json_bytes`, `tier`."""

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """Duration of every sample, in index order."""
        return np.array([row["seconds"] for row in self.rows], dtype=np.float64)

    def sample(self, number: int) -> Sample:
        """Read sample `number`: one positioned read, one FLAC decode."""
        raise NotImplementedError


def open_corpus(root: str | Path) -> Corpus:
    """Open the corpus in folder `root`.

    Raises: CorpusError when the folder is not a finished corpus.
    """
    raise NotImplementedError
