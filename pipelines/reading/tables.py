"""The rows of tables with audio in their cells, without the audio: which column has it, what the others tell.

The columns are the features of the dataset: an Audio feature is stored as a struct of `bytes` and `path`
(huggingface.co/docs/datasets/about_dataset_features; github.com/huggingface/datasets, src/datasets/features/audio.py).
They are read with pyarrow: nothing is decoded, and no loading script ever runs.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.reading.columns import COLUMNS

ROWS = 1024
"""That are read at a time."""


@dataclass(frozen=True)
class Table:
    """What is known of a table before its rows are read."""

    audio: str
    """The column with the audio."""
    in_struct: bool
    """It is a struct of `bytes` and `path`; else the bytes themselves."""
    has_path: bool
    no_bytes: bool
    """The column of bytes has no type, since none of its cells has any."""
    told: tuple[str, ...]
    """Columns that can be told of a recording."""
    labels: Mapping[str, list[str]]
    """Column of numbers -> what they stand for (ClassLabel)."""

    @property
    def bytes_column(self) -> str:
        """Path of the bytes in the schema."""
        return f"{self.audio}.bytes" if self.in_struct else self.audio

    @property
    def columns(self) -> list[str]:
        """All that is read."""
        return [*self.told, *([f"{self.audio}.path"] if self.has_path else [])]


class TableRow(NamedTuple):
    """A row, without its audio."""

    told: dict[str, Any]
    """Column -> value, as plain data; of a class its name, too."""
    path: str | None
    """What the row calls its sound file."""
    column: str
    """Where its bytes are; with `group`, the number of the row group or record batch, and `row`, the number in it."""
    group: int
    row: int
    mean_bytes: int | None
    """Of a recording in this group; None where the group holds no bytes, but paths."""


def rows_in(path: Path, *, audio: str | None) -> Iterator[TableRow]:
    """The rows of a .parquet or .arrow file, in order. `audio`: the column with the audio, where it is known.

    Raises: ValueError where there is no such column; pyarrow.ArrowException and OSError for a file that is damaged.
    """
    return (parquet_rows if path.suffix.lower() == ".parquet" else arrow_rows)(path, audio)


def parquet_rows(path: Path, audio: str | None) -> Iterator[TableRow]:
    """A row group at a time, ROWS rows of it in memory."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        table = table_of(file.schema_arrow, audio)
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group)
            size = None if table.no_bytes else bytes_of_a_row(about, table.bytes_column)
            rows: Iterator[tuple[dict[str, Any], str | None]] = (({}, None) for _ in range(about.num_rows))
            if table.columns:
                batches = file.iter_batches(ROWS, row_groups=[group], columns=table.columns, use_threads=False)
                rows = chain.from_iterable(told_rows(batch, table) for batch in batches)
            for row, told in enumerate(rows):
                yield TableRow(*told, table.bytes_column, group, row, size)


def arrow_rows(path: Path, audio: str | None) -> Iterator[TableRow]:
    """A record batch at a time; the file is mapped, and the audio not touched."""
    import pyarrow.ipc

    source = pyarrow.memory_map(str(path))
    try:
        reader: Any = pyarrow.ipc.open_stream(source)
        batches = iter(reader)
    except pyarrow.ArrowInvalid:
        reader = pyarrow.ipc.open_file(source)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
    table = table_of(reader.schema, audio)
    for group, batch in enumerate(batches):
        cells = batch.column(table.audio)
        cells = cells.field("bytes") if table.in_struct else cells
        size = None if cells.null_count == len(cells) else cells.nbytes // max(len(cells), 1)
        parts = (batch.slice(start, ROWS) for start in range(0, batch.num_rows, ROWS))
        for row, told in enumerate(chain.from_iterable(told_rows(part, table) for part in parts)):
            yield TableRow(*told, table.bytes_column, group, row, size)


def told_rows(batch: Any, table: Table) -> Iterator[tuple[dict[str, Any], str | None]]:
    """What each row tells, and its path."""
    names = [name for name in batch.schema.names if name in table.told]
    rows: list[dict[str, Any]] = batch.select(names).to_pylist() or [{} for _ in range(batch.num_rows)]
    for row in rows:
        for column, classes in table.labels.items():
            value = row.get(column)
            if isinstance(value, int) and 0 <= value < len(classes):
                # the name of a class is no transcript, whatever its column is called
                row[f"{column}_name" if column.strip().lower() in COLUMNS["text"] else column] = classes[value]
    if not table.has_path:
        return zip(rows, repeat(None))
    paths = batch.column(table.audio).field("path").to_pylist()
    return zip(rows, (str(path) if path else None for path in paths), strict=True)


def bytes_of_a_row(about: Any, column: str) -> int | None:
    """Mean bytes of a cell in a row group; None where all cells are empty, and the table holds paths alone.

    Raises: ValueError
    """
    for number in range(about.num_columns):
        chunk = about.column(number)
        if chunk.path_in_schema == column:
            nulls = chunk.statistics.null_count if chunk.statistics and chunk.statistics.has_null_count else 0
            return None if nulls == about.num_rows else chunk.total_compressed_size // max(about.num_rows, 1)
    raise ValueError(f"no column {column} in a row group")


def table_of(schema: Any, audio: str | None) -> Table:
    """Which column holds the audio (the Audio feature, else the first that is one by its type), and which can be told.

    Raises: ValueError
    """
    import pyarrow.types as types

    features = features_of(schema)
    kinds = {field.name: field.type for field in schema}
    marked = [name for name, about in features.items() if about.get("_type") == "Audio" and name in kinds]
    structs = [name for name, kind in kinds.items() if types.is_struct(kind) and kind.get_field_index("bytes") >= 0]
    binary = [name for name, kind in kinds.items() if types.is_binary(kind) or types.is_large_binary(kind)]
    name = audio or next(iter([*marked, *structs, *binary]), None)
    if name is None or name not in kinds:
        raise ValueError(f"no column of audio ({audio or 'bytes'}) in it; there are: {', '.join(kinds)}")
    in_struct = types.is_struct(kinds[name])
    if not in_struct and name not in binary:
        raise ValueError(f"the column {name} holds {kinds[name]}, not the bytes of sound files")
    return Table(
        audio=name,
        in_struct=in_struct,
        has_path=in_struct and kinds[name].get_field_index("path") >= 0,
        no_bytes=in_struct and types.is_null(kinds[name].field("bytes").type),
        told=tuple(column for column, kind in kinds.items() if column != name and can_be_told(kind)),
        labels={
            column: [str(word) for word in about.get("names") or []]
            for column, about in features.items()
            if about.get("_type") == "ClassLabel" and column in kinds
        },
    )


def can_be_told(kind: Any) -> bool:
    """Is it a type of texts or numbers?"""
    import pyarrow.types as types

    texts = types.is_string(kind) or types.is_large_string(kind)
    return bool(texts or (types.is_primitive(kind) and not types.is_temporal(kind)))


def features_of(schema: Any) -> dict[str, dict[str, Any]]:
    """What `datasets` noted of the columns, where it wrote the table."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = noted["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: about for name, about in features.items() if isinstance(about, dict)}
