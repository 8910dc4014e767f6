"""Byte-exact shards: the same samples and settings give the same bytes, whoever writes them and however often."""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from infra.manifest import canonical
from infra.storage import file_digest, write_json
from pipelines.row import SCHEMA, Segment, Wave
from pipelines.shards import FORMAT, PLACE, CorpusError, index_digest, open_corpus, read_card, shard_name

BLOCK = tarfile.BLOCKSIZE


class Packable(Protocol):
    """A sample to be packed: what it is called, how large it is, and where its row and its sound are to be had."""

    @property
    def key(self) -> str: ...
    @property
    def tier(self) -> str: ...
    @property
    def file(self) -> Path:
        """Where the bytes of its FLAC lie now, with `offset` and `flac_bytes`."""

    @property
    def offset(self) -> int: ...
    @property
    def flac_bytes(self) -> int: ...
    @property
    def record_bytes(self) -> int:
        """Length of `record_of(row)`, known without reading the row."""

    @property
    def row(self) -> Mapping[str, Any]:
        """All fields of its segment; may be read from a file each time."""


@dataclass(frozen=True)
class Item:
    """A sample to be packed whose row is in memory."""

    row: Mapping[str, Any]
    tier: str
    file: Path
    offset: int
    flac_bytes: int

    @property
    def key(self) -> str:
        """Of its segment."""
        return str(self.row["key"])

    @property
    def record_bytes(self) -> int:
        """As the shard will hold it."""
        return len(record_of(self.row, tier=self.tier))


def record_of(row: Mapping[str, Any], *, tier: str) -> bytes:
    """The member `<key>.json`: canonical, without the x-vector (that is in the index)."""
    return canonical({**row, "xvector": None, "tier": tier}).encode()


def flac_of(wave_S: Wave, *, rate_hz: int) -> bytes:
    """The waveform as 16-bit FLAC; exact for a 16-bit source, clipped at full scale, the same bytes every time."""
    import soundfile

    whole = np.clip(np.rint(wave_S.astype(np.float64) * 32768.0), -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, whole, rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def padded(size: int) -> int:
    """Bytes that a member of `size` bytes takes in a tar: its header, and its content up to a whole block."""
    return BLOCK + -(-size // BLOCK) * BLOCK


def plan(items: Iterable[Packable], *, soft_bytes: int) -> list[list[Packable]]:
    """Cut the items, in order of their keys, into shards of about `soft_bytes`: a pure function of what is packed."""
    shards: list[list[Packable]] = []
    filled = soft_bytes
    for item in sorted(items, key=lambda item: item.key):
        size = padded(item.flac_bytes) + padded(item.record_bytes)
        if filled + size > soft_bytes or not shards:
            shards.append([])
            filled = 0
        shards[-1].append(item)
        filled += size
    return shards


def header(name: str, size: int) -> bytes:
    """A ustar header in which nothing depends on who writes it, or when."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, 0
    return member.tobuf(format=tarfile.USTAR_FORMAT, encoding="utf-8", errors="strict")


def write_shard(root: Path, number: int, items: Sequence[Packable]) -> dict[str, Any]:
    """Write shard `number`; the file appears under its name only when whole. Returns its entry, with its index rows."""
    path = root / "shards" / shard_name(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    state, at, rows = hashlib.sha256(), 0, []
    with part.open("wb") as file:

        def put(data: bytes) -> None:
            nonlocal at
            state.update(data)
            file.write(data)
            at += len(data)

        def put_member(name: str, data: bytes) -> int:
            put(header(name, len(data)))
            start = at
            put(data + b"\0" * (-len(data) % BLOCK))
            return start

        for item in items:
            key, row = item.key, item.row
            record = record_of(row, tier=item.tier)
            with item.file.open("rb") as spool:
                flac = os.pread(spool.fileno(), item.flac_bytes, item.offset)
            if len(flac) != item.flac_bytes:
                raise CorpusError(f"{item.file}: ends before the audio of {key}; remove the file and run again")
            place = {"shard": number, "flac_offset": put_member(f"{key}.flac", flac), "flac_bytes": len(flac)}
            place |= {"json_offset": put_member(f"{key}.json", record), "json_bytes": len(record)}
            rows.append({**row, **place, "tier": item.tier})
        put(b"\0" * 2 * BLOCK)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    seconds = sum(float(row["seconds"]) for row in rows)
    entry = {"name": path.name, "sha256": state.hexdigest(), "bytes": at, "samples": len(items), "seconds": seconds}
    return {**entry, "rows": rows}


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


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make the file beside its place, then flush it and move it there: whole, or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    write(part)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def finish(root: Path, *, name: str, shards: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Write the index, then corpus.json, which makes the folder a corpus. Returns the digest."""
    import pyarrow
    from pyarrow import parquet

    rows = [row for shard in shards for row in shard["rows"]]
    table = pyarrow.Table.from_pylist(rows, schema=index_schema())
    write_file(root / "index.parquet", lambda part: parquet.write_table(table, part, compression="zstd"))
    digest = index_digest(table.to_pylist())
    card = {
        "format": FORMAT,
        "schema": SCHEMA,
        "name": name,
        "digest": digest,
        "samples": len(rows),
        "hours": sum(float(row["seconds"]) for row in rows) / 3600,
        "licenses": sorted({str(row["license"]) for row in rows}),
        "languages": sorted({str(row["language"] or row["given_language"] or "unknown") for row in rows}),
        **facts,
        "shards": [{key: value for key, value in shard.items() if key != "rows"} for shard in shards],
    }
    write_json(root / "corpus.json", card)
    return digest


def verify(root: Path) -> list[str]:
    """What is wrong with the corpus in `root`, one sentence a problem; nothing when every byte is as it was written."""
    corpus, card, wrong = open_corpus(root, whole=True), read_card(root), []
    if (found := index_digest(corpus.rows)) != corpus.digest:
        wrong.append(f"index.parquet: its digest is {found}, but corpus.json says {corpus.digest}")
    for entry in card["shards"]:
        path = root / "shards" / entry["name"]
        if not path.is_file():
            wrong.append(f"{entry['name']}: is missing")
        elif (found := file_digest(path)) != entry["sha256"]:
            wrong.append(f"{entry['name']}: its sha256 is {found[:16]}, but corpus.json says {entry['sha256'][:16]}")
    extra = {path.name for path in (root / "shards").glob("*")} - {entry["name"] for entry in card["shards"]}
    wrong += [f"{name}: is not a shard of this corpus" for name in sorted(extra)]
    for number, row in enumerate(corpus.rows if not wrong else []):
        sample = corpus.sample(number)
        length = row["end_sample"] - row["start_sample"]
        if sample.record["key"] != row["key"] or len(sample.wave_S) != length or sample.rate_hz != row["rate_hz"]:
            wrong.append(f"{row['key']}: the sample is not the one that the index describes")
    return wrong
