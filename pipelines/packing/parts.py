"""What is known of a finished shard while a corpus is written: index rows and entry, in one file of `parts/`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from infra.manifest import canonical
from infra.storage import replacing
from pipelines.packing.corpus_json import index_digest
from pipelines.packing.index import PLACE
from pipelines.packing.layout import shard_path
from pipelines.row import Segment

PARTS = "parts"
"""Folder of these files; it goes when the corpus is finished."""


def part_path(root: Path, number: int) -> Path:
    """Where the rows of a finished shard wait for the others."""
    return root / PARTS / f"shard-{number:06d}.parquet"


def write_part(
    root: Path, number: int, *, rows: Sequence[Mapping[str, Any]], entry: Mapping[str, Any], wanted: str
) -> dict[str, Any]:
    """Put the rows of a shard beside its entry: from here on it is done. Returns the entry, with the rows' hash."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist(rows, schema=index_schema())
    whole = {**entry, "rows_sha256": index_digest(table.to_pylist())}
    table = table.replace_schema_metadata({"entry": canonical(whole), "wanted": wanted})
    path = part_path(root, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        parquet.write_table(table, file, compression="zstd")
    return whole


def entry_of(root: Path, number: int, *, wanted: str) -> dict[str, Any] | None:
    """The entry of a shard that is done, and was made of the same; None otherwise."""
    import pyarrow
    from pyarrow import parquet

    path, part = root / shard_path(number), part_path(root, number)
    try:
        facts = parquet.read_schema(part).metadata
        entry: dict[str, Any] = json.loads(facts[b"entry"])
        sizes = (path.stat().st_size, path.with_name(f"{path.name}.idx").stat().st_size)
    except (OSError, pyarrow.ArrowException, TypeError, KeyError, ValueError):
        return None
    same = facts[b"wanted"].decode() == wanted and sizes == (entry["bytes"], 8 * (entry["samples"] + 1))
    return entry if same else None


def segment_columns() -> list[tuple[str, Any]]:
    """The columns of a segment, in order, whatever values it happens to have."""
    import pyarrow

    types = {"str": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64(), "bool": pyarrow.bool_()}
    types |= {"tuple[float, ...]": pyarrow.list_(pyarrow.float32()), "tuple[str, ...]": pyarrow.list_(pyarrow.string())}
    return [(item.name, types[type_name(item.type)]) for item in fields(Segment)]


def index_schema() -> Any:
    """The columns of the index."""
    import pyarrow

    places = [(name, pyarrow.string() if name == "tier" else pyarrow.int64()) for name in PLACE]
    return pyarrow.schema([*segment_columns(), *places])


def type_name(annotation: Any) -> str:
    """`str` of `str | None`."""
    return (annotation.__name__ if isinstance(annotation, type) else str(annotation)).split(" |")[0]
