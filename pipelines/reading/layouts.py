"""What the readers of corpora share: the files under a root, the lines of a table, the recording of a file."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.workflow.node import Refused
from pipelines.reading.columns import lowered, recording
from pipelines.reading.inside import Outside, inside, printable
from pipelines.row import Recording

LONGEST_LINE = 1 << 20
SPLIT = re.compile(r"(?<![a-z])(train|validation|valid|val|dev|test|eval)(?![a-z])")


def root_at(root: Path, *, what: str) -> Path:
    """The root of a corpus, resolved.

    Raises: Refused where there is none.
    """
    if not root.is_dir():
        raise Refused(f"{root}: no such folder of {what}; its manifest says how to get it")
    return root.resolve()


def needed(root: Path, name: str, *, what: str) -> Path:
    """A file of a corpus that it cannot be read without.

    Raises: Refused
    """
    path = root / name
    if not path.is_file():
        there = ", ".join(sorted(item.name for item in root.iterdir())[:8]) or "nothing"
        raise Refused(f"{path}: missing, but {what} has it; there is: {there}")
    return path


def refuse(error: OSError) -> None:
    """Raises: Refused for a folder that cannot be listed: what it holds would be lost, and nobody would know."""
    shown = printable(os.fsdecode(error.filename))
    raise Refused(f"{shown}: the folder cannot be listed ({error.strerror}); mend it, or move it away") from None


def walked(
    root: Path, *, links: bool = False, failed: Callable[[OSError], None] = refuse
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`root` and every folder below it, in order, with the names of its folders and files; hidden folders left out.

    Links to folders are named, and with `links` followed where they lead out of `root`, to each place once. `failed`
    is called for a folder that cannot be listed.
    """
    real, seen = root.resolve(), set[Path]()

    def new(path: Path) -> bool:
        if not os.path.islink(path):
            return True
        target = path.resolve()
        known = target in seen or target.is_relative_to(real) or real.is_relative_to(target)
        seen.add(target)
        return not known

    for folder, folders, files in os.walk(root, onerror=failed, followlinks=links):
        folders[:] = sorted(item for item in folders if not item.startswith("."))
        if links:
            folders[:] = [item for item in folders if new(Path(folder) / item)]
        yield Path(folder), folders, sorted(files)


def listing(root: Path, *suffixes: str, under: str = "") -> Iterator[str]:
    """Files below `root` by relative name, in order: hidden ones left out, links to folders not followed.

    Raises: Refused for a folder that cannot be listed.
    """
    if not (root / under).is_dir():
        return
    for folder, _, files in walked(root / under):
        for file in files:
            if file.lower().endswith(suffixes) and not file.startswith("."):
                yield (folder / file).relative_to(root).as_posix()


def small_text(root: Path, name: str) -> bytes | None:
    """What a text file under `root` holds; None where there is none, it is too long, or it lies elsewhere.

    Raises: Refused where it cannot be read.
    """
    try:
        path = inside(root, name)
    except Outside:
        return None
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size <= LONGEST_LINE else None
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror}); mend it, or move it away") from None


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a text file that are not empty.

    Raises: Refused where it is not UTF-8, or has a line that is too long to be one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), ""), start=1):
                if len(line) > LONGEST_LINE:
                    raise Refused(f"{path}, line {number}: longer than {LONGEST_LINE} characters; is it a table?")
                if line.strip():
                    yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); mend it") from None
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror})") from None


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The tables of a file of JSON lines, their columns in lower case.

    Raises: Refused
    """
    for number, line in enumerate(lines_of(path), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Refused(f"{path}, row {number}: not JSON ({str(error)[:80]}); mend it, or remove the row") from None
        if not isinstance(row, dict):
            raise Refused(f"{path}, row {number}: a table of keys is wanted, but it is {type(row).__name__}")
        yield lowered(row)


def of_file(root: Path, name: str, row: Mapping[str, Any] | None = None, **facts: Any) -> Recording:
    """The recording in the file `name` under `root`; one that will fail, where there is none or it may not be read."""
    try:
        path = inside(root, name)
    except Outside as error:
        return faulty(name, f"failed:outside: {error}")
    try:
        size = path.stat().st_size if path.is_file() else 0
    except OSError:
        size = 0
    shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else name
    return recording(row or {}, uri=os.fspath(path), name=shown, size=size, **facts)


def faulty(name: str, fault: str, *, uri: str = "", size: int = 0) -> Recording:
    """A recording, or a file that should have held some, of which nothing can be used; `fault` as in `Recording`."""
    return Recording(uri=uri, name=printable(name), bytes=size, fault=fault[:300])


def split_of(name: str) -> str | None:
    """The part of a dataset that a file belongs to, by its name or its folder: `ach-test-00000-of-00002.parquet`."""
    found = [SPLIT.search(part.lower()) for part in reversed(name.split("/"))]
    return next((match[1] for match in found if match), None)
