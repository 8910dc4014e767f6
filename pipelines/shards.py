"""THE CONTRACT between those who make data and those who use it: what a sample is, and how to read one.

A corpus on disk:
    corpus.json                     name, digest, licenses, hours, schema, one entry a shard (sha256, bytes, samples)
    index.parquet                   one row a sample, in shard order: where it lies, and every score of its segment
    shards/shard-000000.tar         `<key>.flac` + `<key>.json` a sample, ustar, mtime 0, keys in order
The digest of the index is the version of the corpus: `name@digest`.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.manifest import canonical

FORMAT = "stipple-corpus/1"
PLACE = ("shard", "flac_offset", "flac_bytes", "json_offset", "json_bytes", "tier")
"""Columns of the index beside those of the segment: the number of the shard, where the members' bytes lie, the tier."""


class CorpusError(ValueError):
    """A folder that is not a whole corpus. The message is a sentence for a person."""


@dataclass(frozen=True)
class Sample:
    """One utterance out of a shard."""

    key: str
    wave_S: NDArray[np.float32]
    rate_hz: int
    record: dict[str, Any]
    """The segment (pipelines.row.Segment), as stored: `text_tts`, `text`, `language`, `speaker`, `seconds`, scores.

    `xvector` is None here and stands in the row of the index."""


@dataclass(frozen=True)
class Corpus:
    """An opened corpus: its index in memory, its shards read by offset, one sample at a time, in any order."""

    root: Path
    name: str
    digest: str
    licenses: Sequence[str]
    rows: Sequence[dict[str, Any]]
    """The index: the segment's fields, and those of PLACE."""

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """Duration of every sample, in index order."""
        return np.array([row["seconds"] for row in self.rows], dtype=np.float64)

    def sample(self, number: int) -> Sample:
        """Read sample `number`: one positioned read, one FLAC decode.

        Raises: CorpusError when the shard is gone or does not hold what the index says.
        """
        import soundfile

        row = self.rows[number]
        flac, text = self.members(number)
        try:
            wave_S, rate_hz = soundfile.read(io.BytesIO(flac), dtype="float32")
            record = json.loads(text)
        except (soundfile.LibsndfileError, ValueError) as error:
            raise CorpusError(
                f"{self.shard(row)}: sample {row['key']} is damaged ({error}); run `stipple corpus verify`"
            ) from None
        return Sample(key=row["key"], wave_S=wave_S, rate_hz=int(rate_hz), record=record)

    def members(self, number: int) -> tuple[bytes, bytes]:
        """The bytes of the sample's FLAC and of its JSON, by one positioned read (the two lie side by side)."""
        row = self.rows[number]
        start, end = row["flac_offset"], row["json_offset"] + row["json_bytes"]
        try:
            with self.shard(row).open("rb") as file:
                block = os.pread(file.fileno(), end - start, start)
        except OSError as error:
            raise CorpusError(f"{self.shard(row)}: cannot be read ({error.strerror})") from None
        if len(block) < end - start:
            raise CorpusError(f"{self.shard(row)}: ends before sample {row['key']}; run `stipple corpus verify`")
        return block[: row["flac_bytes"]], block[row["json_offset"] - start :]

    def shard(self, row: Mapping[str, Any]) -> Path:
        """The file that the row's sample lies in."""
        return self.root / "shards" / shard_name(row["shard"])


def shard_name(number: int) -> str:
    """File name of shard `number`."""
    return f"shard-{number:06d}.tar"


def index_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """The version of a corpus, 32 hex digits: sha256 over the canonical JSON of its index rows, one line a row."""
    state = hashlib.sha256()
    for row in rows:
        state.update(canonical(row).encode() + b"\n")
    return state.hexdigest()[:32]


def read_card(root: Path) -> dict[str, Any]:
    """corpus.json of the corpus in `root`.

    Raises: CorpusError
    """
    try:
        card = json.loads((root / "corpus.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = (
            "is not a folder" if not root.is_dir() else "has no corpus.json: not a corpus, or its build did not finish"
        )
        raise CorpusError(f"{root}: {what}") from None
    except (OSError, ValueError) as error:
        raise CorpusError(f"{root / 'corpus.json'}: cannot be read ({error})") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise CorpusError(f"{root / 'corpus.json'}: not the card of a corpus in format {FORMAT}")
    return card


def open_corpus(root: str | Path, *, selection: str | Path | None = None, whole: bool = False) -> Corpus:
    """Open the corpus in folder `root`, or what a selection names of it; `root` may be a selection itself.

    Samples that a tombstone hides are not in it, unless it is asked for as a `whole`.

    Raises: CorpusError when the folder is not a finished corpus.
    """
    import pyarrow
    from pyarrow import parquet

    from pipelines.views import corpus_and_selection, seen

    root, selection = corpus_and_selection(Path(root), selection)
    card = read_card(root)
    try:
        rows = parquet.read_table(root / "index.parquet", memory_map=True).to_pylist()
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise CorpusError(f"{root / 'index.parquet'}: cannot be read ({error})") from None
    if len(rows) != card["samples"]:
        raise CorpusError(f"{root}: the index has {len(rows)} rows, but corpus.json says {card['samples']} samples")
    corpus = Corpus(root=root, name=card["name"], digest=card["digest"], licenses=tuple(card["licenses"]), rows=rows)
    return corpus if whole else seen(corpus, selection=selection)
