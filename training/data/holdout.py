"""Which samples are validated on and never trained on: whole speakers or whole recordings, by the hash of their names.

A sample's side follows from what it is alone, and not from the seed of the stage: a stage begins with the weights of
one that had another seed, and must not be validated on what that one has heard. By speaker where the corpus names
enough of them, else by recording, else by sample, where a corpus has too few recordings to spare one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.data.permutation import mixed

By = Literal["speaker", "recording", "sample"]
SPEAKERS = 20
"""Named speakers of a part of the mixture from which on whole ones are held out: one of fewer would be too much of it.
"""
GROUPS = 8
"""Recordings, or samples, from which on at least one is held out."""
LARGEST = 1 / 8
"""What has a larger part of the samples is not held out, unless as much is asked for."""
COLUMNS = ("key", "recording_sha256", "given_speaker")


@dataclass(frozen=True)
class Identities:
    """64 bits of each sample that is used, for what it is; numbers below are those among the used ones."""

    key_N: NDArray[np.uint64]
    recording_N: NDArray[np.uint64]
    """Of the content; of the key where the index does not know it."""
    speaker_N: NDArray[np.uint64]
    """As the corpus names them; of the recording where it names none."""
    speakers: int
    """Named ones."""
    corpus: np.uint64
    """Of its name: outside a corpus and its selections, one name may be two speakers."""

    def by(self, word: By) -> NDArray[np.uint64]:
        """Of one kind."""
        found = {"speaker": self.speaker_N, "recording": self.recording_N, "sample": self.key_N}
        return found[word]


@dataclass(frozen=True)
class Split:
    """How the used samples of a part are divided."""

    by: By
    held_N: NDArray[np.bool_]
    aside_N: NDArray[np.bool_]
    """Neither: they share a recording with held-out ones, or are held out in another part of the mixture."""


def identities(table: Any, *, corpus: str) -> Identities:
    """Of the rows of an index, its columns COLUMNS; a million rows take half a second."""
    key_N = hashes_of(table["key"])
    recording_N, known_N = named(table["recording_sha256"])
    recording_N = np.where(known_N, recording_N, key_N)
    speaker_N, named_N = named(table["given_speaker"])
    speakers = distinct(speaker_N[named_N])
    return Identities(key_N, recording_N, np.where(named_N, speaker_N, recording_N), speakers, hashes_of([corpus])[0])


def divided(parts: Sequence[Identities], *, share: float) -> list[Split]:
    """Every part of a mixture by itself, and then no part trains on what another one holds out."""
    found = [split(part, share=share) for part in parts]
    kinds: dict[By, tuple[By, ...]] = {
        "speaker": ("speaker",),
        "recording": ("speaker", "recording"),
        "sample": ("speaker", "recording", "sample"),
    }
    for word, holders in kinds.items():
        marks = [part.speaker_N ^ part.corpus if word == "speaker" else part.by(word) for part in parts]
        held = [mark[one.held_N] for mark, one in zip(marks, found, strict=True) if one.by in holders]
        values = np.unique(np.concatenate(held)) if held else np.zeros(0, dtype=np.uint64)
        found = [
            replace(one, aside_N=one.aside_N | (among(mark, values) & ~one.held_N))
            for mark, one in zip(marks, found, strict=True)
        ]
    return found


def split(part: Identities, *, share: float) -> Split:
    """One part by itself."""
    by: By = "sample"
    if part.speakers >= SPEAKERS:
        by = "speaker"
    elif distinct(part.recording_N) >= GROUPS:
        by = "recording"
    held_N = lowest(part.by(by), share=share)
    return Split(by, held_N, np.zeros(len(held_N), dtype=np.bool_))


def lowest(hash_N: NDArray[np.uint64], *, share: float) -> NDArray[np.bool_]:
    """Which hashes, as numbers in [0, 1), lie below `share`; and of GROUPS or more at least the lowest one. None of
    those that are more than LARGEST of all, or than the share.

    A hash stays on its side when the corpus grows (but for that lowest one, in a corpus too small for the share).
    """
    held_N = (hash_N >> np.uint64(11)).astype(np.float64) / 2**53 < share
    most = max(share, LARGEST) * len(hash_N)
    values, counts = np.unique(hash_N[held_N], return_counts=True)
    held_N &= ~among(hash_N, values[counts > most])
    if share > 0 and not held_N.any():
        values, counts = np.unique(hash_N, return_counts=True)
        if len(values) >= GROUPS:
            held_N = hash_N == values[counts <= most].min()
    return np.asarray(held_N, dtype=np.bool_)


def among(hash_N: NDArray[np.uint64], values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which hashes are some of these."""
    if not len(values):
        return np.zeros(len(hash_N), dtype=np.bool_)
    import pyarrow
    from pyarrow import compute

    found = compute.is_in(pyarrow.array(hash_N), value_set=pyarrow.array(values))
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.bool_)


def distinct(hash_N: NDArray[np.uint64]) -> int:
    """How many different ones there are."""
    import pyarrow
    from pyarrow import compute

    return int(compute.count_distinct(pyarrow.array(hash_N)).as_py())


def named(column: Any) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The hash of every word of a column, in which many are the same, and where there is one."""
    import pyarrow

    hashes, known = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.bool_)]
    for chunk in column.chunks:
        coded = chunk.cast(pyarrow.large_string()).dictionary_encode()
        words = coded.dictionary
        of_words = np.concatenate([hashes_of(words) if len(words) else [], [0]]).astype(np.uint64)
        hashes.append(of_words[coded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)])
        known.append(chunk.is_valid().to_numpy(zero_copy_only=False))
    return np.concatenate(hashes), np.concatenate(known)


def hashes_of(keys: Any) -> NDArray[np.uint64]:
    """64 bits for every key, from the key alone; a million keys take a tenth of a second."""
    words_NW = words_of(keys)
    hash_N = np.zeros(len(words_NW), dtype=np.uint64)
    for word_N in words_NW.T:
        hash_N = np.where(word_N != 0, mixed(hash_N + word_N), hash_N)
    return hash_N


def words_of(keys: Any) -> NDArray[np.uint64]:
    """The bytes of every key, padded with zeros, eight in a word."""
    import pyarrow
    from pyarrow import compute

    column = keys.combine_chunks() if isinstance(keys, pyarrow.ChunkedArray) else pyarrow.array(keys)
    length = compute.binary_length(column).to_numpy()
    width = int(length.max())
    words = -(-width // 8)
    padded = np.zeros((len(column), words * 8), dtype=np.uint8)
    if (length == width).all():  # as the keys of a corpus are: their bytes lie side by side
        flat = np.frombuffer(column.buffers()[2], dtype=np.uint8)
        start = column.offset * width
        padded[:, :width] = flat[start : start + len(column) * width].reshape(len(column), width)
    else:
        texts = np.array([key.encode() for key in column.to_pylist()], dtype=f"S{width}")
        padded[:, :width] = texts.view(np.uint8).reshape(len(column), width)
    return padded.view("<u8")
