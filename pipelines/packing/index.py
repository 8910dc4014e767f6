"""The index of a corpus: one row a sample, read by columns or row by row, and never all of it as Python objects.

On disk: `index/pack-0000.parquet` for the shards in `shards/pack-0000/`, one row group a shard, in order.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from infra.objects import Place
from pipelines.packing.layout import PACK, CorpusError, index_name

PLACE = ("shard", "flac_offset", "flac_bytes", "json_offset", "json_bytes", "tier")
"""Columns beside those of the segment: the number of the shard, where the members' bytes lie, the tier."""
BATCH = 2**19
"""Rows that are read at a time, where all are gone over: some 200 MB, and tombstones are made ready for each."""
REMEMBERED = 8
"""Row groups that are kept decoded: rows are often read in order."""


class Rows(Sequence[dict[str, Any]]):
    """The rows of the index, in shard order. A row is made when it is asked for; whole columns are read alone."""

    def __init__(
        self,
        place: Place,
        samples: Sequence[int],
        *,
        numbers: NDArray[np.int64] | None = None,
        tiers: Sequence[str] | None = None,
    ) -> None:
        """`samples`: how many rows each shard has. Nothing is read yet. `numbers`, `tiers`: see `only`."""
        self.place = place
        self.samples = samples
        self.starts = [0, *accumulate(samples)]
        """Where the rows of each shard begin in the whole index; the last one is its length."""
        self.numbers = numbers
        self.tiers = tiers
        self._remembered = lru_cache(REMEMBERED)(self.shard)
        self._opened = lru_cache(2)(self._open)

    def only(self, numbers: NDArray[np.int64], *, tiers: Sequence[str] | None = None) -> "Rows":
        """These rows of the whole index, by ascending numbers; with other tiers, where some are given."""
        return Rows(self.place, self.samples, numbers=numbers, tiers=tiers)

    def whole(self) -> "Rows":
        """All rows of the index."""
        return Rows(self.place, self.samples)

    def __len__(self) -> int:
        return self.starts[-1] if self.numbers is None else len(self.numbers)

    @overload
    def __getitem__(self, number: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, number: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, number: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        shard, row = self.where(number)
        found: dict[str, Any] = self._remembered(shard).slice(row, 1).to_pylist()[0]
        return found if self.tiers is None else {**found, "tier": self.tiers[number]}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for shard, (start, end) in enumerate(pairwise(self.starts)):
            if self.numbers is None:
                yield from self.shard(shard).to_pylist()
                continue
            first, last = np.searchsorted(self.numbers, (start, end))
            if first < last:
                table = self.shard(shard).take(self.numbers[first:last] - start)
                yield from self._with_tiers(table, first, last).to_pylist()

    def where(self, number: int) -> tuple[int, int]:
        """Shard of sample `number`, and its number in the shard."""
        at = number + len(self) if number < 0 else number
        if not 0 <= at < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        whole = at if self.numbers is None else int(self.numbers[at])
        shard = bisect_right(self.starts, whole) - 1
        return shard, whole - self.starts[shard]

    def shard(self, shard: int) -> Any:
        """All rows of one shard, as a pyarrow.Table.

        Raises: CorpusError
        """
        return self._read(shard // PACK, lambda file: file.read_row_group(shard % PACK))

    def columns(self, *names: str) -> Any:
        """Whole columns as one pyarrow.Table, at the cost of their memory and no more; nulls where there is no such.

        Texts are `large_string`: more than 2 GB of them, the keys of 83 million samples, cannot be taken from or put
        into one piece as `string`.

        Raises: CorpusError
        """
        import pyarrow

        packs = range(-(-len(self.samples) // PACK))
        tables = [self._read(pack, lambda file: file.read(columns=list(names))) for pack in packs]
        found = pyarrow.concat_tables(tables)
        none = pyarrow.nulls(self.starts[-1])
        table = pyarrow.table({name: large(found[name]) if name in found.column_names else none for name in names})
        return table if self.numbers is None else self._with_tiers(table.take(self.numbers), 0, len(self.numbers))

    def tables(self, *names: str) -> Iterator[Any]:
        """Columns of the whole index, BATCH rows at a time, as pyarrow.Tables; nulls where there is no such column.

        Raises: CorpusError
        """
        import pyarrow

        for pack in range(-(-len(self.samples) // PACK)):
            try:
                file = self._opened(pack)
                asked = [name for name in names if name in file.schema_arrow.names]
                for batch in file.iter_batches(BATCH, columns=asked):
                    none = pyarrow.nulls(batch.num_rows)
                    yield pyarrow.table({name: batch[name] if name in asked else none for name in names})
            except (OSError, pyarrow.ArrowException) as error:
                raise CorpusError(f"{self.place}/{index_name(pack)}: cannot be read ({error})") from None

    def _with_tiers(self, table: Any, first: int, last: int) -> Any:
        import pyarrow

        if self.tiers is None or "tier" not in table.column_names:
            return table
        kind = table.schema.field("tier").type
        tiers = pyarrow.array(self.tiers[first:last], kind)
        return table.set_column(table.column_names.index("tier"), "tier", tiers)

    def _read(self, pack: int, read: Callable[[Any], Any]) -> Any:
        import pyarrow

        try:
            return read(self._opened(pack))
        except (OSError, pyarrow.ArrowException) as error:
            raise CorpusError(f"{self.place}/{index_name(pack)}: cannot be read ({error})") from None

    def _open(self, pack: int) -> Any:
        from pyarrow import parquet

        file = parquet.ParquetFile(self.place.parquet(index_name(pack)), memory_map=True, pre_buffer=True)
        samples = self.samples[pack * PACK : (pack + 1) * PACK]
        groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        if groups != list(samples):
            raise CorpusError(
                f"{self.place}/{index_name(pack)}: has {sum(groups)} rows in {len(groups)} shards, but corpus.json "
                f"says {sum(samples)} in {len(samples)}"
            )
        return file


def large(column: Any) -> Any:
    """A column of texts with offsets of 64 bits; any other as it is."""
    import pyarrow

    return column.cast(pyarrow.large_string()) if pyarrow.types.is_string(column.type) else column
