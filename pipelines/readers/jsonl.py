"""A catalog: `recordings.jsonl`, one recording a line, with the fields of pipelines.row.Recording."""

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from infra.manifest import Manifest, did_you_mean
from infra.workflow.node import Refused
from pipelines.row import Recording

KNOWN = {item.name for item in fields(Recording)}


class Config(Manifest):
    file: str = "recordings.jsonl"


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every line of the catalog in `root` (or of `root`, where that is the catalog). Relative URIs start at it.

    Raises: Refused
    """
    path = root if root.is_file() else root / cfg.file
    if not path.is_file():
        raise Refused(f"{path}: no such catalog; `stipple recordings` makes one from a folder of recordings")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield read(line, where=f"{path}, line {number}", base=path.parent)


def read(line: str, *, where: str, base: Path) -> Recording:
    """The recording in one line.

    Raises: Refused
    """
    try:
        facts = json.loads(line)
    except ValueError as error:
        raise Refused(f"{where}: not JSON ({error})") from None
    if not isinstance(facts, dict):
        raise Refused(f"{where}: a recording is a table of keys, but is {type(facts).__name__}")
    if unknown := sorted(facts.keys() - KNOWN):
        raise Refused(f"{where}: no such key: {unknown[0]}{did_you_mean(unknown[0], KNOWN)}; put it into `extra`")
    if missing := sorted({"uri", "name", "bytes"} - facts.keys()):
        raise Refused(f"{where}: {missing[0]} is missing")
    return Recording(**{**facts, "uri": str(base / facts["uri"])})
