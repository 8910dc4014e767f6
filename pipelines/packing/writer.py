"""Byte-exact shards: the same samples and settings give the same bytes, whoever writes them and however often."""

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from infra.manifest import canonical
from infra.storage import replacing, sync_folder, write_json
from pipelines.clip import whole_samples
from pipelines.packing.index import PACK, CorpusError, index_name
from pipelines.packing.parts import PARTS, entry_of, index_schema, part_path, write_part
from pipelines.policy.licenses import join
from pipelines.row import SCHEMA, Wave
from pipelines.shards import FORMAT, HARD_BYTES, KEY, corpus_digest, shard_name, shard_path

BLOCK = tarfile.BLOCKSIZE
PACKED: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
"""Of the index: a quarter smaller without dictionaries, and the footer of a pack stays small without statistics."""
SPK = "spk"
"""The member that is the x-vector of the row."""
XVECTOR_BYTES = 128 + 4 * 512
"""Of its file, at 512 numbers: near enough to plan with."""


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

    @property
    def arrays(self) -> Mapping[str, tuple[int, int]]:
        """Name -> where the bytes of its .npy lie in `file`: offset and length."""


def record_of(row: Mapping[str, Any], *, tier: str) -> bytes:
    """The member `<key>.json`: canonical, without the x-vector (that is in the index)."""
    return canonical({**row, "xvector": None, "tier": tier}).encode()


def record_bytes(row: Mapping[str, Any], *, tier: str) -> int:
    """Length of `record_of`: what has no value is counted by its name, which takes half the time."""
    told, empty = {"tier": tier}, 0
    for name, value in row.items():
        if value is None or name == "xvector":
            empty += len(f'"{name}":null,')
        else:
            told[name] = value
    return empty + len(canonical(told).encode())


def flac_of(wave_S: Wave, *, rate_hz: int) -> bytes:
    """The waveform as 16-bit FLAC; exact for a 16-bit source, clipped at full scale, the same bytes every time."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, whole_samples(wave_S).astype(np.int16), rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def npy_of(array: "NDArray[Any]") -> bytes:
    """The array as the bytes of a .npy file: numbers only, never pickled."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def padded(size: int) -> int:
    """Bytes that a member of `size` bytes takes in a tar: its header, and its content up to a whole block."""
    return BLOCK + -(-size // BLOCK) * BLOCK


def plan(items: Iterable[Packable], *, soft_bytes: int, members: Sequence[str] = ()) -> list[list[Packable]]:
    """The items, in any order, in shards of about `soft_bytes`; see `cut`."""
    return list(cut(sorted(items, key=lambda item: item.key), soft_bytes=soft_bytes, members=members))


def cut(items: Iterable[Packable], *, soft_bytes: int, members: Sequence[str] = ()) -> Iterator[list[Packable]]:
    """Cut the items, which come in order of their keys, into shards of about `soft_bytes`, one after another: a pure
    function of what is packed.

    `members`: arrays that go with the samples, as for `write_shard`.

    Raises: CorpusError where a sample does not fit into any shard.
    """
    shard: list[Packable] = []
    filled = 0
    for item in items:
        size = padded(item.flac_bytes) + padded(item.record_bytes) + (padded(XVECTOR_BYTES) if SPK in members else 0)
        size += sum(padded(count) for name, (_, count) in item.arrays.items() if name in members)
        if size > HARD_BYTES - 2 * BLOCK:
            raise CorpusError(f"{item.key}: a sample of {size / 2**20:.0f} MiB, but a shard may have 1280: cut it")
        if shard and filled + size > min(soft_bytes, HARD_BYTES - 2 * BLOCK):
            yield shard
            shard, filled = [], 0
        shard.append(item)
        filled += size
    if shard:
        yield shard


def header(name: str, size: int) -> bytes:
    """A ustar header in which nothing depends on who writes it, or when."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, 0
    return member.tobuf(format=tarfile.USTAR_FORMAT, encoding="utf-8", errors="strict")


def write_shard(root: Path, number: int, items: Sequence[Packable], *, members: Sequence[str] = ()) -> dict[str, Any]:
    """Write shard `number`, its offsets and its rows, each whole or not at all; nothing where that was done before.

    `members`: arrays that go with the samples that have them, as `<key>.<name>.npy`: their arrays by name, and
    `spk`, the x-vector of the row.

    Returns its entry in corpus.json. The shard counts as done once its rows lie in `parts/`, which comes last.

    Raises: CorpusError
    """
    rows = [item.row for item in items]
    records = [record_of(row, tier=item.tier) for row, item in zip(rows, items, strict=True)]
    wanted = wanted_of(items, rows, records, members=members)
    done = entry_of(root, number, wanted=wanted)
    if done is not None:
        return done
    path = root / shard_path(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    (root / "corpus.json").unlink(missing_ok=True)
    offsets: list[int] = []
    placed: list[dict[str, Any]] = []
    with replacing(path) as file:
        tar = Tar(file)
        for item, row, record in zip(items, rows, records, strict=True):
            offsets.append(tar.at)
            flac = sound_of(item)
            place = {"shard": number, "flac_offset": tar.put(f"{item.key}.flac", flac), "flac_bytes": len(flac)}
            place |= {"json_offset": tar.put(f"{item.key}.json", record), "json_bytes": len(record)}
            for name, npy in sorted(npys_of(item, row, members=members)):
                tar.put(f"{item.key}.{name}.npy", npy)
            placed.append({**row, **place, "tier": item.tier})
        index = np.array([*offsets, tar.at], dtype="<u8").tobytes()
        tar.end()
        with replacing(path.with_name(f"{path.name}.idx")) as beside:
            beside.write(index)
    sync_folder(path.parent)
    entry = {
        "name": shard_name(number),
        "sha256": tar.state.hexdigest(),
        "index_sha256": hashlib.sha256(index).hexdigest(),
        "bytes": tar.at,
        "samples": len(items),
        "seconds": sum(float(row["seconds"]) for row in rows),
        "licenses": sorted({str(row["license"]) for row in rows}),
        "languages": sorted({str(row["language"] or row["given_language"] or "unknown") for row in rows}),
    }
    return write_part(root, number, rows=placed, entry=entry, wanted=wanted)


class Tar:
    """A tar as it is written: ustar, and nothing in it depends on who writes it, or when."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.state = hashlib.sha256()
        self.at = 0

    def put(self, name: str, data: bytes) -> int:
        """Add a file. Returns where its content begins."""
        self.write(header(name, len(data)))
        start = self.at
        self.write(data)
        self.write(b"\0" * (-len(data) % BLOCK))
        return start

    def end(self) -> None:
        """The two empty blocks."""
        self.write(b"\0" * 2 * BLOCK)

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        self.state.update(data)
        self.file.write(data)
        self.at += len(data)


def sound_of(item: Packable) -> bytes:
    """The FLAC of a sample, out of the file that it waits in.

    Raises: CorpusError
    """
    if not KEY.fullmatch(item.key):
        raise CorpusError(f"{item.key!r}: a key has 1 to 80 letters, digits, - and _")
    return bytes_of(item, item.offset, item.flac_bytes)


def bytes_of(item: Packable, offset: int, count: int) -> bytes:
    """A part of the file in which what belongs to a sample waits.

    Raises: CorpusError
    """
    with item.file.open("rb") as spool:
        data = os.pread(spool.fileno(), count, offset)
    if len(data) != count:
        raise CorpusError(f"{item.file}: ends before the audio of {item.key}; remove the file and run again")
    return data


def npys_of(item: Packable, row: Mapping[str, Any], *, members: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of the arrays that go with a sample."""
    for name, (offset, count) in item.arrays.items():
        if name in members:
            yield name, bytes_of(item, offset, count)
    if SPK in members and row.get("xvector") is not None:
        yield SPK, npy_of(np.asarray(row["xvector"], dtype="<f4"))


def wanted_of(
    items: Sequence[Packable], rows: Sequence[Mapping[str, Any]], records: Sequence[bytes], *, members: Sequence[str]
) -> str:
    """Hash of what a shard is to be made of: by it, a shard that was made of the same is not made again."""
    state = hashlib.sha256(canonical(sorted(members)).encode())
    for item, row, record in zip(items, rows, records, strict=True):
        arrays = sorted((name, *place) for name, place in item.arrays.items())
        facts = [str(item.file), item.offset, item.flac_bytes, arrays, row.get("xvector")]
        state.update(canonical(facts).encode() + record + b"\n")
    return state.hexdigest()


def finish(root: Path, *, name: str, shards: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Write the index, pack by pack, then corpus.json, which makes the folder a corpus. Returns the digest.

    `shards`: the entries that `write_shard` returned, in order; they are taken one by one, and no rows are held but
    those of one shard. What is left over from earlier attempts is removed.
    """
    from pyarrow import parquet

    entries: list[dict[str, Any]] = []
    waiting = iter(shards)
    (root / index_name(0)).parent.mkdir(parents=True, exist_ok=True)
    while (first := next(waiting, None)) is not None:
        with (
            replacing(root / index_name(len(entries) // PACK)) as file,
            parquet.ParquetWriter(file, index_schema(), **PACKED) as writer,
        ):
            writer.write_table(rows_of(root, first, entries))
            while len(entries) % PACK and (shard := next(waiting, None)) is not None:
                writer.write_table(rows_of(root, shard, entries))
    sync_folder(root / "index")
    remove_strays(root, shards=len(entries))
    digest = corpus_digest(entries)
    licenses = sorted({word for entry in entries for word in entry["licenses"]})
    card = {
        "format": FORMAT,
        "schema": SCHEMA,
        "name": name,
        "digest": digest,
        "samples": sum(entry["samples"] for entry in entries),
        "hours": sum(entry["seconds"] for entry in entries) / 3600,
        "licenses": licenses,
        "terms": sorted(join(licenses)),
        "languages": sorted({word for entry in entries for word in entry["languages"]}),
        **facts,
        "shards": entries,
    }
    write_json(root / "corpus.json", card)
    shutil.rmtree(root / PARTS)
    return digest


def rows_of(root: Path, shard: Mapping[str, Any], entries: list[dict[str, Any]]) -> Any:
    """The rows of the next shard, as a pyarrow.Table; its entry is added to the others."""
    from pyarrow import parquet

    number = len(entries)
    assert shard["name"] == shard_name(number), f"{shard['name']} where shard {number} should come"
    entries.append(dict(sorted(shard.items())))
    return parquet.read_table(part_path(root, number)).replace_schema_metadata(None)


def expected_files(shards: int) -> set[str]:
    """Names of all files that belong to a corpus of so many shards, but for corpus.json."""
    packs = {index_name(number) for number in range(-(-shards // PACK))}
    return packs | {f"{shard_path(number)}{ending}" for number in range(shards) for ending in ("", ".idx")}


def strays_in(root: Path, *, shards: int) -> list[str]:
    """Names of files in the folders of a corpus that do not belong to it, and of temporary ones beside them."""
    inside = [path for folder in ("shards", "index") for path in (root / folder).rglob("*") if not path.is_dir()]
    found = {path.relative_to(root).as_posix() for path in [*inside, *root.glob("*.tmp"), *root.glob(".corpus.json.*")]}
    return sorted(found - expected_files(shards))


def remove_strays(root: Path, *, shards: int) -> None:
    """Remove what killed attempts have left, and shards of an earlier, larger plan."""
    for name in strays_in(root, shards=shards):
        (root / name).unlink(missing_ok=True)
