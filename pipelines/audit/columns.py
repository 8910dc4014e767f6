"""The ledger of a corpus by columns: each is read when it is asked for, and rows as such are read only to be shown."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.audit.coded import Coded, Lists, Mask, coded, nothing
from pipelines.ledger import unreadable
from pipelines.policy.redaction import REDACTED, redactor_of, unredacted
from pipelines.policy.withdrawn import NEEDED

Floats = NDArray[np.float64]

LATELY = 8
"""Columns that are kept in memory: 4 or 8 bytes a row each."""
ROWS = 2**19
"""Rows that are read at a time, where a column is gone over."""
NO_SCORES = ("start_sample", "end_sample", "channels", "channel", "item_seconds", "schema")
"""Numbers of a row that nobody would draw a histogram of."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Columns:
    """The ledger of the corpus in `root`: every column has one entry a row."""

    root: Path
    _recent: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def file(self) -> Any:
        """The Parquet file.

        Raises: CorpusError
        """
        import pyarrow
        from pyarrow import parquet

        path = self.root / "ledger.parquet"
        try:
            return parquet.ParquetFile(path, memory_map=True)
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise unreadable(path, error) from None

    @cached_property
    def types(self) -> dict[str, str]:
        """Column -> `number`, `bool`, `text` or `texts`; vectors are left out."""
        import pyarrow

        found = {}
        for item in self.file.schema_arrow:
            if pyarrow.types.is_floating(item.type) or pyarrow.types.is_integer(item.type):
                found[item.name] = "number"
            elif pyarrow.types.is_boolean(item.type):
                found[item.name] = "bool"
            elif pyarrow.types.is_string(item.type):
                found[item.name] = "text"
            elif pyarrow.types.is_list(item.type) and pyarrow.types.is_string(item.type.value_type):
                found[item.name] = "texts"
        return found

    @property
    def count(self) -> int:
        """Rows."""
        return int(self.file.metadata.num_rows)

    @property
    def score_names(self) -> list[str]:
        """Every number of a segment that a histogram can be drawn of; the speaking rate, which follows from others."""
        stored = [name for name, kind in self.types.items() if kind == "number" and name not in NO_SCORES]
        return [*stored, "chars_per_second"] if {"text", "seconds"} <= self.types.keys() else stored

    def numbers(self, name: str) -> Floats:
        """A column of numbers, NaN where there is none."""
        if name == "chars_per_second":
            return self._rate
        found: Floats = self._lately(name, lambda: self.file.read(columns=[name])[name].cast("float64").to_numpy())
        return found

    def _lately(self, name: str, read: Callable[[], Any]) -> Any:
        """What `read` gives, kept until some other columns were read."""
        found = self._recent.pop(name) if name in self._recent else read()
        self._recent[name] = found
        while len(self._recent) > LATELY:
            del self._recent[next(iter(self._recent))]
        return found

    def parts(self, *names: str) -> Iterator[Any]:
        """Columns, ROWS rows at a time, as pyarrow.Tables."""
        import pyarrow

        return (pyarrow.Table.from_batches([batch]) for batch in self.file.iter_batches(ROWS, columns=list(names)))

    @cached_property
    def _rate(self) -> Floats:
        from pyarrow import compute

        lengths = [np.zeros(0)]
        for part in self.parts("text"):
            length = compute.utf8_length(compute.replace_substring(part["text"], " ", ""))
            lengths.append(length.cast("float64").to_numpy())
        length = np.concatenate(lengths)
        seconds = self.numbers("seconds")
        return np.asarray(length / np.where(seconds > 0, seconds, np.nan))

    def flags(self, name: str) -> NDArray[np.int8]:
        """A column of yes and no: 1, 0, and -1 where there is none; nothing but -1 where there is no such column."""
        from pyarrow import compute

        if name not in self.types:
            return np.full(self.count, -1, dtype=np.int8)
        column = compute.fill_null(self.file.read(columns=[name])[name].cast("int8"), -1)
        return np.asarray(column.to_numpy(), dtype=np.int8)

    def texts(self, name: str) -> Coded:
        """A column of texts by code; nothing but -1 where there is no such column."""
        if name not in self.types:
            return nothing(self.count)
        found: Coded = self._lately(name, lambda: coded(self.file.read(columns=[name])[name]))
        return found

    def lists(self, name: str) -> Lists:
        """A column of lists of texts, flattened; empty ones where there is no such column."""
        from pyarrow import compute

        if name not in self.types:
            return Lists(nothing(0), np.zeros(0, dtype=np.int64), np.zeros(self.count, dtype=np.int64))
        column = self.file.read(columns=[name])[name]
        length = np.asarray(compute.fill_null(compute.list_value_length(column), 0).to_numpy(), dtype=np.int64)
        owner = np.repeat(np.arange(len(length)), length)
        return Lists(coded(compute.list_flatten(column)), owner, length)

    @cached_property
    def hours(self) -> Floats:
        """Of each row."""
        return self.numbers("item_seconds") / 3600

    @cached_property
    def segment(self) -> Mask:
        """Rows that are segments, not the rest of a recording."""
        from pyarrow import compute

        return np.asarray(compute.is_valid(self.file.read(columns=["key"])["key"]).to_numpy())

    def of_status(self, name: str) -> Mask:
        """Rows that were kept, dropped or failed."""
        return self.texts("status").equals(name)

    @cached_property
    def kept(self) -> Mask:
        """Segments of the corpus."""
        return self.of_status("kept")

    @cached_property
    def gone(self) -> Mask:
        """Rows of what was taken down, now or before the ledger was written: a page names nothing of it."""
        from pyarrow import compute

        redactor = redactor_of(self.root)
        names = [name for name in (*NEEDED, "pcm_sha256") if name in self.types] if redactor.withdrawn else []
        found = [np.zeros(0, dtype=np.bool_)]
        for part in self.parts("recording", *(name for name in names if name != "recording")):
            gone = compute.equal(part["recording"], REDACTED).fill_null(False).to_numpy()
            found.append(gone | unredacted(part, redactor) if redactor.withdrawn else gone)
        return np.concatenate(found)

    @cached_property
    def reasons(self) -> Lists:
        """Why a row is not kept: all reasons, in order."""
        return self.lists("reasons")

    @cached_property
    def language(self) -> Coded:
        """Found, else given, else `unknown`."""
        found, given = self.texts("language"), self.texts("given_language")
        names = list(dict.fromkeys([*found.names, *given.names, UNKNOWN]))
        place = np.array([names.index(name) for name in given.names] + [names.index(UNKNOWN)], dtype=np.int32)
        return Coded(np.where(found.codes >= 0, found.codes, place[given.codes]).astype(np.int32), names)

    @cached_property
    def source(self) -> Coded:
        """Of the row; else of another segment of its recording; else `not stated`; REDACTED where it was taken down."""
        own = self.texts("source")
        stated = own.where(bool)
        names = [*own.names, "not stated"]
        codes = np.where(stated, own.codes, len(own.names))
        if stated.any() and not stated.all():
            number = self.recordings
            of_recording = np.full(int(number[-1]) + 1, len(own.names))
            of_recording[number[stated]] = own.codes[stated]
            codes = np.where(stated, codes, of_recording[number])
        if self.gone.any():
            codes, names = np.where(self.gone, len(names), codes), [*names, REDACTED]
        return Coded(codes.astype(np.int32), names)

    @property
    def recordings(self) -> NDArray[np.int64]:
        """A number for the recording of each row; the rows of one come together."""
        from pyarrow import compute

        found, last = [np.zeros(0, dtype=np.bool_)], None
        for part in self.parts("recording"):
            column = part["recording"].combine_chunks()
            first = column[0].as_py() != last
            others = compute.not_equal(column[1:], column[:-1]).fill_null(True).to_numpy(zero_copy_only=False)
            found += [np.array([first]), others]
            last = column[-1].as_py()
        return np.cumsum(np.concatenate(found), dtype=np.int64) - 1

    def keys(self, rows: Mask) -> Any:
        """The keys of these rows, as pyarrow has them."""
        return self.file.read(columns=["key"])["key"].filter(rows)

    def shown(self, rows: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Row number -> everything but its vectors, for the few rows that a page shows."""
        wanted = np.unique(np.asarray(rows, dtype=np.int64))
        found: dict[int, dict[str, Any]] = {}
        begin = 0
        for group in range(self.file.metadata.num_row_groups):
            end = begin + self.file.metadata.row_group(group).num_rows
            inside = wanted[(wanted >= begin) & (wanted < end)]
            if len(inside):
                table = self.file.read_row_group(group, columns=list(self.types)).take(inside - begin)
                found |= dict(zip(inside.tolist(), map(with_rate, table.to_pylist()), strict=True))
            begin = end
        return found


def with_rate(row: dict[str, Any]) -> dict[str, Any]:
    """The row, with the score that is a property of a segment."""
    text, seconds = row.get("text"), row.get("seconds")
    return {**row, "chars_per_second": len(text.replace(" ", "")) / seconds if text and seconds else None}
