"""Byte-exact shards: the same samples and settings give the same bytes, whoever writes them and however often."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infra.manifest import canonical
from infra.storage import replacing, sync_folder
from pipelines.packing.cutting import Packable
from pipelines.packing.layout import KEY, CorpusError, offsets_name, shard_name, shard_path
from pipelines.packing.members import SPK, npy_of, record_of
from pipelines.packing.parts import entry_of, write_part
from pipelines.packing.tar import Tar


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
    starts: list[int] = []
    placed: list[dict[str, Any]] = []
    with replacing(path) as file:
        tar = Tar(file)
        for item, row, record in zip(items, rows, records, strict=True):
            starts.append(tar.at)
            place = put_sample(tar, item, record, npys=npys_of(item, row, members=members))
            placed.append({**row, "shard": number, **place, "tier": item.tier})
        offsets = np.array([*starts, tar.at], dtype="<u8").tobytes()
        tar.end()
        with replacing(root / offsets_name(number)) as beside:
            beside.write(offsets)
    sync_folder(path.parent)
    entry = {
        "name": shard_name(number),
        "sha256": tar.sha256.hexdigest(),
        "index_sha256": hashlib.sha256(offsets).hexdigest(),
        "bytes": tar.at,
        "samples": len(items),
        "seconds": sum(float(row["seconds"]) for row in rows),
        "licenses": sorted({str(row["license"]) for row in rows}),
        "languages": sorted({str(row["language"] or row["given_language"] or "unknown") for row in rows}),
    }
    return write_part(root, number, rows=placed, entry=entry, wanted=wanted)


def put_sample(tar: Tar, item: Packable, record: bytes, *, npys: Mapping[str, bytes]) -> dict[str, int]:
    """Add the files of a sample. Returns where those lie that every sample has.

    Raises: CorpusError
    """
    if not KEY.fullmatch(item.key):
        raise CorpusError(f"{item.key!r}: a key has 1 to 80 letters, digits, - and _")
    place: dict[str, int] = {}
    for ending, data in (("flac", waiting_bytes(item, item.offset, item.flac_bytes)), ("json", record)):
        place |= {f"{ending}_offset": tar.put(f"{item.key}.{ending}", data), f"{ending}_bytes": len(data)}
    for name, npy in sorted(npys.items()):
        tar.put(f"{item.key}.{name}.npy", npy)
    return place


def npys_of(item: Packable, row: Mapping[str, Any], *, members: Sequence[str]) -> dict[str, bytes]:
    """The arrays that go with a sample, by name.

    Raises: CorpusError
    """
    found = {name: waiting_bytes(item, *place) for name, place in item.arrays.items() if name in members}
    if SPK in members and row.get("xvector") is not None:
        found[SPK] = npy_of(np.asarray(row["xvector"], dtype="<f4"))
    return found


def waiting_bytes(item: Packable, offset: int, count: int) -> bytes:
    """A part of the file in which what belongs to a sample waits.

    Raises: CorpusError
    """
    with item.file.open("rb") as spool:
        data = os.pread(spool.fileno(), count, offset)
    if len(data) != count:
        raise CorpusError(f"{item.file}: ends before the audio of {item.key}; remove the file and run again")
    return data


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
