"""Audio in the cells of tables: parquet files and the Arrow files of `datasets`. No code of a table ever runs."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from infra.mistakes import OUT_OF_ROOM

BATCH_ROWS = 16
"""Rows of a parquet file in memory at a time."""
MOST_MB = 4096.0
"""Of the audio column of one row group, unpacked: Arrow reads pages of it, whose size the file decides."""
BOMB_RATIO = 200
BOMB_BYTES = 1 << 26


class BadCell(OSError):  # noqa: N818 - it is the cell that is bad
    """There is no audio to be had from a cell. The message is the reason."""


class Cells:
    """Cells of one table after the other, in the order of their rows: a cell behind the last one starts it anew."""

    def __init__(self) -> None:
        self.place: tuple[Any, ...] = ()
        self.rows: Iterator[Any] = iter(())
        self.next_row = 0

    def read(self, path: Path, *, group: int, row: int, column: str) -> bytes:
        """The bytes in one cell; `column` is a path such as `audio.bytes`.

        Raises: BadCell
        """
        import pyarrow

        place = (path, group, column)
        try:
            if place != self.place or row < self.next_row:
                self.place, self.next_row = (), 0
                self.rows = rows_of(path, group=group, column=column)
                self.place = place
            cell = next(islice(self.rows, row - self.next_row, None), None)
            self.next_row = row + 1
            if cell is None:
                raise BadCell(f"no row {row} in its row group {group}")
            value = cell.as_py()
        except BadCell:
            raise
        except (pyarrow.ArrowException, OSError, KeyError, IndexError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in OUT_OF_ROOM:
                raise
            raise BadCell(f"the table cannot be read ({first_line(error)})") from None
        if not isinstance(value, bytes):
            raise BadCell("no audio in its cell" if value is None else f"its cell holds {type(value).__name__}")
        return value


def rows_of(path: Path, *, group: int, column: str) -> Iterator[Any]:
    """The cells of a column in one row group of a parquet file, or in one record batch of an Arrow file."""
    with path.open("rb") as file:
        parquet = file.read(4) == b"PAR1"
    for batch in parquet_batches(path, group, column) if parquet else [arrow_batch(path, group)]:
        yield from in_column(batch, column)


def in_column(batch: Any, column: str) -> Any:
    """The array of `raw` or `audio.bytes`; the name of the column may have dots itself.

    Raises: ValueError, KeyError
    """
    import pyarrow

    names = column.split(".")
    heads = (count for count in range(len(names), 0, -1) if ".".join(names[:count]) in batch.schema.names)
    count = next(heads, 0)
    if not count:
        raise ValueError(f"no column {column} in it")
    array = batch.column(".".join(names[:count]))
    for name in names[count:]:
        if not pyarrow.types.is_struct(array.type):
            raise ValueError(f"no {name} in a column of {array.type}")
        array = array.field(name)
    return array


def parquet_batches(path: Path, group: int, column: str) -> Iterator[Any]:
    """A few rows at a time.

    Raises: BadCell for what would unpack to too much memory.
    """
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        if not 0 <= group < file.num_row_groups:
            raise BadCell(f"no row group {group} in it, which has {file.num_row_groups}")
        about = file.metadata.row_group(group)
        chunks = [about.column(number) for number in range(about.num_columns)]
        mine = [chunk for chunk in chunks if chunk.path_in_schema == column]
        packed = sum(chunk.total_compressed_size for chunk in mine)
        unpacked = sum(chunk.total_uncompressed_size for chunk in mine)
        if unpacked > MOST_MB * 1e6 or unpacked > max(BOMB_BYTES, BOMB_RATIO * packed):
            raise BadCell(f"bomb: {packed} bytes of its row group unpack to {unpacked}")
        yield from file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=[column], use_threads=False)


def arrow_batch(path: Path, number: int) -> Any:
    """One record batch of an IPC stream (which `datasets` writes) or an IPC file; mapped, not read."""
    import pyarrow.ipc

    source = pyarrow.memory_map(str(path))
    try:
        reader = pyarrow.ipc.open_stream(source)
    except (pyarrow.ArrowInvalid, OSError):
        return pyarrow.ipc.open_file(source).get_batch(number)
    for at, batch in enumerate(reader):
        if at == number:
            return batch
    raise BadCell(f"no record batch {number} in it")


def first_line(error: BaseException) -> str:
    """Of what a library says."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
