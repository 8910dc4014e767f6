"""WebDataset tars: sound files with a .json or a .txt of the same key beside them; read where they lie.

The rules of keys are those of the library: a member's path up to the first dot of its last part is its key, the rest
its kind; members of one key stand together (github.com/webdataset/webdataset, webdataset/tariterators.py).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.readers.folder import SUFFIXES
from pipelines.reading.columns import lowered, recording
from pipelines.reading.containers import member_uri, packed
from pipelines.reading.gzips import BadGzip, GzipStream
from pipelines.reading.inside import Outside, inside
from pipelines.reading.layouts import faulty, listing, root_at
from pipelines.reading.tars import Damaged, Member, entries
from pipelines.row import Recording

ARCHIVES = (".tar", ".tar.gz", ".tgz")
LONGEST_TEXT = 1 << 20
"""Bytes of a .json or .txt that are read."""
TEXTS = ("txt", "text", "lab", "normalized.txt", "transcript")
COMPRESSED = {b"BZh": "bzip2", b"\xfd7z": "xz", b"(\xb5/": "zstd"}


class Config(Manifest):
    under: str = ""
    """Folder below the root in which the tars lie."""
    need_texts: bool = False
    """A sound file without a .json or .txt fails."""


@dataclass
class Sample:
    """Members of one key."""

    key: str
    sounds: list[Member] = field(default_factory=list)
    row: dict[str, Any] | None = None
    text: bytes | None = None
    fault: str | None = None


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every sound file of every tar under `root`, in order; a tar that cannot be read to its end is a failed recording.

    Raises: Refused where there is no tar.
    """
    root = root_at(root, what="tars")
    found = False
    for name in listing(root, *ARCHIVES, under=cfg.under):
        found = True
        yield from of_tar(root, name, need_texts=cfg.need_texts)
    if not found:
        raise Refused(f"{root / cfg.under}: no tar in it; looked for {', '.join(ARCHIVES)}")


def of_tar(root: Path, name: str, *, need_texts: bool, **facts: Any) -> Iterator[Recording]:
    """The recordings of one tar; `facts` are known of all of them."""
    try:
        path = inside(root, name)
    except Outside as error:
        yield faulty(name, f"failed:outside: {error}")
        return
    size, given = path.stat().st_size, 0
    try:
        with path.open("rb") as file:
            for sample in samples(checked(file)):
                for made in of_sample(sample, path, name, need_texts=need_texts, **facts):
                    given += 1
                    yield made
    except (Damaged, BadGzip) as error:
        yield faulty(name, f"failed:archive: {error}", uri=str(path), size=size)
        return
    if not given:
        yield faulty(name, "failed:archive: no sound file in it", uri=str(path), size=size)


def checked(file: BinaryIO) -> BinaryIO:
    """The tar in a file that may be compressed.

    Raises: Damaged for kinds of compression that are not read.
    """
    if packed(file):
        return cast(BinaryIO, GzipStream(file))
    kind = COMPRESSED.get(file.read(3))
    if kind:
        raise Damaged(f"it is compressed with {kind}, which is not read: make it a plain .tar")
    return file


def samples(stream: BinaryIO) -> Iterator[Sample]:
    """Members of one key that stand together; what is amiss with them is their fault.

    Raises: Damaged, BadGzip
    """
    now = Sample("")
    seen: set[int] = set()
    damage: Exception | None = None
    try:
        for entry in entries(stream):
            key, kind = split_key(entry.name)
            if not kind:
                continue
            if key != now.key:
                yield now
                now = Sample(key)
                if hash(key) in seen:
                    now.fault = "failed:non_contiguous: members of its key stand elsewhere in the archive, too"
                seen.add(hash(key))
            take(now, entry, kind, stream)
    except (Damaged, BadGzip) as error:
        damage = error
    yield now
    if damage is not None:
        raise damage


def split_key(name: str) -> tuple[str, str]:
    """`a/b.c.wav` -> `a/b`, `c.wav`; no kind for hidden files and those without a dot."""
    folder, slash, base = name.rpartition("/")
    key, _, kind = base.partition(".")
    return (f"{folder}{slash}{key}", kind.lower()) if key else (name, "")


def take(sample: Sample, entry: Member, kind: str, stream: BinaryIO) -> None:
    """Add a member to its sample."""
    sound = f".{kind.rpartition('.')[2]}" in SUFFIXES
    if not sound and kind not in (*TEXTS, "json"):
        if kind.endswith(("tar", "tgz", "tar.gz")):
            sample.fault = sample.fault or f"failed:nested: {entry.name} is an archive in an archive: unpack it first"
        return
    if entry.refused or "\0" in entry.name or ".." in entry.name.split("/") or entry.name.startswith("/"):
        sample.fault = sample.fault or f"failed:{entry.refused or 'outside: its name leads out of the archive'}"
    elif sound:
        if sample.sounds:
            sample.fault = sample.fault or "failed:duplicate: there are two sound files under one key"
        sample.sounds.append(entry)
    elif entry.size > LONGEST_TEXT:
        sample.fault = sample.fault or f"failed:metadata: its .{kind} has {entry.size} bytes"
    elif (sample.row if kind == "json" else sample.text) is not None:
        sample.fault = sample.fault or f"failed:duplicate: there are two .{kind} under one key"
    else:
        stream.seek(entry.offset)
        data = stream.read(entry.size)
        if kind == "json":
            sample.row, why = table(data)
            sample.fault = sample.fault or why
        else:
            sample.text = data


def table(data: bytes) -> tuple[dict[str, Any] | None, str | None]:
    """The table of keys in a .json, or why there is none."""
    try:
        row = json.loads(data)
    except (ValueError, RecursionError) as error:
        return None, f"failed:metadata: its .json is not JSON ({str(error)[:60]})"
    if not isinstance(row, dict):
        return None, f"failed:metadata: its .json is no table, but {type(row).__name__}"
    return lowered(row), None


def of_sample(sample: Sample, path: Path, tar: str, *, need_texts: bool, **facts: Any) -> Iterator[Recording]:
    """The recording of a sample; of a faulty one, a row that says so."""
    if not sample.sounds:
        if sample.fault or sample.row is not None or sample.text is not None:
            yield faulty(f"{tar}/{sample.key}", sample.fault or "failed:missing_pair: no sound file under this key")
        return
    if need_texts and sample.row is None and sample.text is None:
        sample.fault = sample.fault or "failed:missing_pair: no .json or .txt under its key"
    for number, sound in enumerate(sample.sounds):
        twice = f"#{number}" if number else ""
        yield recording(
            sample.row or {},
            uri=member_uri(path, member=sound.name, offset=sound.offset, length=sound.size),
            name=f"{tar}/{sound.name}{twice}",
            size=sound.size,
            text=sample.text,
            **{**facts, "fault": sample.fault},
        )
