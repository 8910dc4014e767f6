"""Columns of texts as numbers: each text once, and for every row which of them it has."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int32]
Mask = NDArray[np.bool_]


class Names(Sequence[str]):
    """The texts of a pyarrow.Array, which become Python's where they are asked for: there may be millions."""

    def __init__(self, texts: Any) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts.to_pylist())

    def __getitem__(self, number: int) -> str:  # type: ignore[override]
        return str(self.texts[int(number)])


@dataclass(frozen=True)
class Coded:
    """A column of few different texts: a number for each row, -1 where there is none, and the text of each number."""

    codes: Codes
    names: Sequence[str]

    def code(self, name: str) -> int:
        """The number of a text; -2, which no row has, where it does not occur."""
        return self.names.index(name) if name in self.names else -2

    def equals(self, name: str) -> Mask:
        """Rows with this text."""
        return np.asarray(self.codes == self.code(name))

    def where(self, test: Callable[[str], bool]) -> Mask:
        """Rows with a text that passes."""
        return np.isin(self.codes, [code for code, name in enumerate(self.names) if test(name)])

    def present(self, rows: Mask) -> list[str]:
        """The texts that occur in these rows."""
        return [self.names[code] for code in np.unique(self.codes[rows]) if code >= 0]

    def counts(self, rows: Mask | None = None) -> NDArray[np.int64]:
        """How many rows have each text, of all or of these."""
        codes = self.codes if rows is None else self.codes[rows]
        return np.bincount(codes[codes >= 0], minlength=len(self.names))

    def common(self, rows: Mask | None = None, *, most: int) -> list[int]:
        """The numbers of the texts that most rows have, the most frequent first."""
        counts = self.counts(rows)
        return [int(code) for code in np.argsort(-counts, kind="stable")[:most] if counts[code]]


@dataclass(frozen=True)
class Lists:
    """A column of lists of texts, flattened: row `owner[i]` has text `coded.names[coded.codes[i]]`, in order."""

    coded: Coded
    owner: NDArray[np.int64]
    length: NDArray[np.int64]
    """Of each row's list."""

    @cached_property
    def first(self) -> Codes:
        """The code of each row's first text, -1 where its list is empty."""
        found = np.full(len(self.length), -1, dtype=np.int32)
        found[self.owner[::-1]] = self.coded.codes[::-1]
        return found

    def all_among(self, names: Sequence[str]) -> Mask:
        """Rows whose list is not empty and holds nothing but these."""
        wanted = np.isin(self.coded.codes, [self.coded.code(name) for name in names])
        inside = np.bincount(self.owner[wanted], minlength=len(self.length))
        return np.asarray((inside == self.length) & (self.length > 0))


def coded(column: Any) -> Coded:
    """A pyarrow.ChunkedArray of texts, by code."""
    encoded = column.dictionary_encode().unify_dictionaries()  # a whole text column may not fit into one piece
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    names = encoded.chunk(0).dictionary if encoded.num_chunks else encoded.combine_chunks().dictionary
    return Coded(np.concatenate([np.zeros(0, dtype=np.int32), *codes]).astype(np.int32), Names(names))


def nothing(rows: int) -> Coded:
    """So many rows without a text."""
    return Coded(np.full(rows, -1, dtype=np.int32), [])
