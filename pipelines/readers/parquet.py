"""Tables with audio in their cells: parquet shards of Hugging Face, and what `datasets` saves to disk (.arrow)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.reading.columns import lowered, recording
from pipelines.reading.containers import cell_uri
from pipelines.reading.inside import Outside, inside
from pipelines.reading.layouts import faulty, listing, of_file, root_at, split_of
from pipelines.reading.tables import TableRow, rows_in
from pipelines.row import Recording


class Config(Manifest):
    under: str = ""
    """Folder below the root in which the tables lie."""
    audio: str | None = None
    """Column with the audio; null: the Audio feature, or the first column that is one by its type."""


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
    """The recordings of one table, called `TABLE/NUMBER`; `facts` are known of all of them."""
    import pyarrow

    try:
        path = inside(root, name)
    except Outside as error:
        yield faulty(name, f"failed:outside: {error}")
        return
    facts.setdefault("split", split_of(name))
    number = 0
    try:
        for row in rows_in(path, audio=audio):
            yield of_row(root, name, number, row, **facts)
            number += 1
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        yield faulty(f"{name}/from_{number:08d}", f"failed:table: {why}", uri=str(path), size=path.stat().st_size)


def of_row(root: Path, table: str, number: int, row: TableRow, **facts: Any) -> Recording:
    """The recording of a row. Where the table holds no bytes, its path is followed, below the root alone."""
    known, name = lowered(row.told), f"{table}/{number:08d}"
    own = next((known[key] for key in ("id", "key", "utt_id") if isinstance(known.get(key), str)), None)
    facts = {**facts, "extra": {**({"id": own} if own else {}), **facts.get("extra", {})}}
    if row.mean_bytes is not None:
        uri = cell_uri(root / table, group=row.group, row=row.row, column=row.column)
        return recording(known, uri=uri, name=name, size=row.mean_bytes, **facts)
    if not row.path:
        return faulty(name, "failed:empty: neither bytes nor a path in its row")
    beside = row.path if (root / row.path).is_file() else f"{Path(table).parent.as_posix()}/{row.path}"
    return of_file(root, beside, known, **facts)
