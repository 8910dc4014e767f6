"""Tables with audio in their cells: parquet shards of Hugging Face, and what `datasets` saves to disk (.arrow).

The columns are the features of the dataset: an Audio feature is stored as a struct of `bytes` and `path`
(huggingface.co/docs/datasets/about_dataset_features; github.com/huggingface/datasets, src/datasets/features/audio.py).
They are read with pyarrow: nothing is decoded, and no loading script ever runs.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.reading.columns import COLUMNS, lowered, recording
from pipelines.reading.containers import cell_uri
from pipelines.reading.inside import Outside, inside
from pipelines.reading.layouts import faulty, listing, of_file, root_at
from pipelines.row import Recording

SPLIT = re.compile(r"(?<![a-z])(train|validation|valid|val|dev|test|eval)(?![a-z])")
ROWS = 1024


class Config(Manifest):
    under: str = ""
    """Folder below the root in which the tables lie."""
    audio: str | None = None
    """Column with the audio; null: the Audio feature, or the first column that is one by its type."""


@dataclass(frozen=True)
class Table:
    """What is known of a table before its rows are read."""

    column: str
    """Path of the bytes: `audio.bytes`, or the name of a binary column."""
    told: tuple[str, ...]
    """Columns that can be told of a recording."""
    labels: Mapping[str, list[str]]
    """Column of numbers -> what they stand for (ClassLabel)."""
    has_path: bool
    no_bytes: bool = False
    """The column of bytes has no type, since none of its cells has any."""


@dataclass(frozen=True)
class RowBatch:
    """Rows of a table that follow each other, without their audio."""

    table: Table
    group: int
    """Number of the row group, or of the record batch."""
    start: int
    """Row in it at which they begin."""
    mean_bytes: int | None
    """Of a recording; None where the table holds no bytes, but paths."""
    rows: list[dict[str, Any]]


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every row of every table under `root`, in order; a table that cannot be read is a failed recording.

    Raises: Refused where there is no table.
    """
    root = root_at(root, what="tables")
    found = False
    for name in listing(root, ".parquet", ".arrow", under=cfg.under):
        if name.rpartition("/")[2].startswith("cache-"):
            continue
        found = True
        yield from of_table(root, name, audio=cfg.audio)
    if not found:
        raise Refused(f"{root / cfg.under}: no .parquet or .arrow in it")


def of_table(root: Path, name: str, *, audio: str | None = None, **facts: Any) -> Iterator[Recording]:
    """The recordings of one table; `facts` are known of all of them."""
    import pyarrow

    try:
        path = inside(root, name)
    except Outside as error:
        yield faulty(name, f"failed:outside: {error}")
        return
    facts.setdefault("split", split_of(name))
    number = 0
    try:
        for batch in parquet_rows(path, audio) if path.suffix.lower() == ".parquet" else arrow_rows(path, audio):
            for at in range(len(batch.rows)):
                yield of_row(root, f"{name}/{number:08d}", batch, at, **facts)
                number += 1
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        yield faulty(f"{name}/from_{number:08d}", f"failed:table: {why}", uri=str(path), size=path.stat().st_size)


def of_row(root: Path, name: str, batch: RowBatch, at: int, **facts: Any) -> Recording:
    """The recording of row `at` of these: `TABLE/NUMBER`. Where the table holds no bytes, its path is followed, below
    the root alone."""
    row, file = batch.rows[at], name.rpartition("/")[0]
    for column, names in batch.table.labels.items():
        value = row.get(column)
        if isinstance(value, int) and 0 <= value < len(names):
            # the name of a class is no transcript, whatever its column is called
            row[f"{column}_name" if column.strip().lower() in COLUMNS["text"] else column] = names[value]
    told = row.pop("\0path", None)
    known = lowered(row)
    own = next((known[key] for key in ("id", "key", "utt_id") if isinstance(known.get(key), str)), None)
    facts = {**facts, "extra": {**({"id": own} if own else {}), **facts.get("extra", {})}}
    if batch.mean_bytes is None:
        if not told:
            return faulty(name, "failed:empty: neither bytes nor a path in its row")
        beside = str(told) if (root / str(told)).is_file() else f"{Path(file).parent.as_posix()}/{told}"
        return of_file(root, beside, known, **facts)
    uri = cell_uri(root / file, group=batch.group, row=batch.start + at, column=batch.table.column)
    return recording(known, uri=uri, name=name, size=batch.mean_bytes, **facts)


def parquet_rows(path: Path, audio: str | None) -> Iterator[RowBatch]:
    """Some at a time."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        table = table_of(file.schema_arrow, audio)
        columns = [*table.told, *([f"{table.column.split('.')[0]}.path"] if table.has_path else [])]
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group)
            size = None if table.no_bytes else bytes_of_a_row(about, table.column)
            start = 0
            if not columns:
                yield RowBatch(table, group, 0, size, [{} for _ in range(about.num_rows)])
                continue
            for batch in file.iter_batches(ROWS, row_groups=[group], columns=columns, use_threads=False):
                yield RowBatch(table, group, start, size, plain_rows(batch, table))
                start += batch.num_rows


def arrow_rows(path: Path, audio: str | None) -> Iterator[RowBatch]:
    """A record batch at a time, or less; the file is mapped, and the audio not touched."""
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
        cells = batch.column(table.column.split(".")[0])
        cells = cells.field("bytes") if "." in table.column else cells
        size = None if cells.null_count == len(cells) else cells.nbytes // max(len(cells), 1)
        for start in range(0, batch.num_rows, ROWS):
            yield RowBatch(table, group, start, size, plain_rows(batch.slice(start, ROWS), table))


def plain_rows(batch: Any, table: Table) -> list[dict[str, Any]]:
    """Rows as plain values; the path of the audio under a name that no column has."""
    rows: list[dict[str, Any]] = batch.select(
        [name for name in batch.schema.names if name in table.told]
    ).to_pylist() or [{} for _ in range(batch.num_rows)]
    if table.has_path:
        paths = batch.column(table.column.split(".")[0]).field("path")
        for row, path in zip(rows, paths, strict=True):
            row["\0path"] = path.as_py()
    return rows


def bytes_of_a_row(about: Any, column: str) -> int | None:
    """Mean bytes of a cell in a row group; None where all cells are empty, and the table holds paths alone."""
    for number in range(about.num_columns):
        chunk = about.column(number)
        if chunk.path_in_schema == column:
            nulls = chunk.statistics.null_count if chunk.statistics and chunk.statistics.has_null_count else 0
            return None if nulls == about.num_rows else chunk.total_compressed_size // max(about.num_rows, 1)
    raise ValueError(f"no column {column} in a row group")


def table_of(schema: Any, audio: str | None) -> Table:
    """Which column holds the audio, and which can be told.

    Raises: ValueError
    """
    import pyarrow.types as types

    features = features_of(schema)
    fields = {field.name: field.type for field in schema}
    marked = [name for name, about in features.items() if about.get("_type") == "Audio" and name in fields]
    structs = [name for name, kind in fields.items() if types.is_struct(kind) and kind.get_field_index("bytes") >= 0]
    binary = [name for name, kind in fields.items() if types.is_binary(kind) or types.is_large_binary(kind)]
    choices = [audio] if audio else [*marked, *structs, *binary]
    if not choices or choices[0] not in fields:
        raise ValueError(f"no column of audio ({audio or 'bytes'}) in it; there are: {', '.join(fields)}")
    name = choices[0]
    in_struct = types.is_struct(fields[name])
    if not in_struct and not (types.is_binary(fields[name]) or types.is_large_binary(fields[name])):
        raise ValueError(f"the column {name} holds {fields[name]}, not the bytes of sound files")
    told = tuple(
        column
        for column, kind in fields.items()
        if column != name
        and (types.is_string(kind) or types.is_large_string(kind) or types.is_primitive(kind))
        and not types.is_temporal(kind)
    )
    labels = {
        column: [str(word) for word in about.get("names") or []]
        for column, about in features.items()
        if about.get("_type") == "ClassLabel" and column in fields
    }
    has_path = in_struct and fields[name].get_field_index("path") >= 0
    no_bytes = in_struct and types.is_null(fields[name].field("bytes").type)
    return Table(f"{name}.bytes" if in_struct else name, told, labels, has_path, no_bytes)


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


def split_of(name: str) -> str | None:
    """The part of a dataset that a file belongs to, by its name or its folder: `ach-test-00000-of-00002.parquet`."""
    found = [SPLIT.search(part.lower()) for part in reversed(name.split("/"))]
    return next((match[1] for match in found if match), None)
