"""A catalog: `recordings.jsonl`, one recording a line, with the fields of pipelines.row.Recording."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from types import NoneType

from infra.manifest import Manifest, did_you_mean
from infra.storage import read_json
from infra.workflow.node import Refused
from pipelines.catalog import NEEDED
from pipelines.readers.folder import SUFFIXES
from pipelines.reading.containers import Files, Unreadable
from pipelines.reading.inside import PROTOCOL, Outside, inside
from pipelines.reading.layouts import lines_of
from pipelines.row import Recording

KNOWN = {item.name: item.type.__name__ if isinstance(item.type, type) else str(item.type) for item in fields(Recording)}
SHARED = {"license", "source", "language", "split", "speaker"}
"""Words that many recordings have in common: one of each in memory, where there are millions."""
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "bool": (bool,), "str | None": (str, NoneType), "dict[str, typing.Any]": (dict,),
    "float | None": (int, float, NoneType),
}  # fmt: skip
EXACT = {key: TYPES[kind] for key, kind in KNOWN.items()}
"""What JSON may give for a key; `true` is no number."""


class Config(Manifest):
    file: str = "recordings.jsonl"
    roots: list[Path] = []
    """Folders that a catalog may lead into, beside its own, and the one that it was made of in the store."""


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every line of the catalog in `root` (or of `root`, where that is the catalog). Relative URIs start at it.

    Raises: Refused
    """
    path = root if root.is_file() else root / cfg.file
    if not path.is_file():
        raise Refused(f"{path}: no such catalog; `stipple recordings` makes one from a folder of recordings")
    if path.suffix.lower() in SUFFIXES:
        raise Refused(f"{path}: it is a sound file; give the folder that it lies in, or a catalog")
    roots = [path.parent.resolve(), *(item.resolve() for item in cfg.roots), *cataloged(path)]
    outside = lru_cache(maxsize=64)(lambda file: outside_of(file, roots))  # recordings of an archive come together
    files = Files()
    for number, line in enumerate(lines_of(path), start=1):
        yield confined(read(line, where=f"{path}, line {number}", base=path.parent), outside, files)


def cataloged(path: Path) -> list[Path]:
    """The folders that a catalog of the store may lead into, as its commit says."""
    record = read_json(path.parent.parent / "COMMIT.json") if path.parent.name == "out" else None
    roots = (record or {}).get("summary", {}).get("roots")
    return [Path(root) for root in roots if os.path.isabs(root)] if isinstance(roots, list) else []


def confined(recording: Recording, outside: Callable[[str], str], files: Files) -> Recording:
    """The recording; with a fault, where its file lies outside of the roots."""
    if recording.fault is not None:
        return recording
    try:
        why = outside(files.file_of(recording.uri))
    except Unreadable as error:
        return replace(recording, fault=f"failed:outside: {error}")
    if not why:
        return recording
    return replace(recording, fault=f"failed:outside: {why}; `roots` of the reader lets a catalog lead elsewhere")


def outside_of(path: str, roots: Sequence[Path]) -> str:
    """Why a file lies in none of the roots; empty where it lies in one."""
    why = "there is no folder that it may lie in"
    for root in roots:
        try:
            inside(root, path)
        except Outside as error:
            why = str(error)
        else:
            return ""
    return why


def read(line: str, *, where: str, base: Path) -> Recording:
    """The recording in one line.

    Raises: Refused
    """
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{where}: not JSON ({error})") from None
    if not isinstance(facts, dict):
        raise Refused(f"{where}: a recording is a table of keys, but is {type(facts).__name__}")
    if not facts.keys() <= KNOWN.keys():
        unknown = sorted(facts.keys() - KNOWN)
        raise Refused(f"{where}: no such key: {unknown[0]}{did_you_mean(unknown[0], KNOWN)}; put it into `extra`")
    if not facts.keys() >= NEEDED:
        missing = sorted(NEEDED - facts.keys())
        raise Refused(f"{where}: {missing[0]} is missing")
    for key, value in facts.items():
        if type(value) not in EXACT[key]:
            raise Refused(f"{where}: {key} is to be {KNOWN[key]}, but is {str(value)[:60]!r}")
    if not (facts.get("fault") or "failed:").startswith(("dropped:", "failed:")):
        raise Refused(f"{where}: fault begins with dropped: or failed:, but is {facts['fault'][:60]!r}")
    for key in SHARED & facts.keys():
        facts[key] = sys.intern(facts[key]) if facts[key] is not None else None
    if "extra" in facts:
        facts["extra"] = {sys.intern(name): value for name, value in facts["extra"].items()}
    uri = facts["uri"]
    return Recording(**{**facts, "uri": uri if not uri or PROTOCOL.match(uri) else os.path.join(base, uri)})
