"""Any folder of sound files; transcripts from tables in its root, or from a text file beside each sound file."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from infra.log import counted
from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.reading.columns import lowered, recording, tell
from pipelines.reading.inside import Outside, inside
from pipelines.reading.layouts import small_text, walked
from pipelines.reading.named import Named
from pipelines.row import Recording

KINDS = (
    "wav wave flac mp3 mp2 ogg oga opus spx m4a m4b mp4 aac aif aiff aifc au snd sph nist caf w64 rf64 amr wma webm "
    "mka mkv mov 3gp ac3 wv ape tta avi"
)
SUFFIXES = frozenset(f".{kind}" for kind in KINDS.split())
TEXTS = (".txt", ".TXT")
LINK = "failed:outside: it is a link out of the folder; set links, if you made it"
GONE = "failed:missing: a table names it, but there is no such file"
LONGEST_FIELD = 1 << 20


class Config(Manifest):
    tables: bool = True
    """Look for .tsv, .csv and .jsonl tables in the root."""
    text_beside: bool = True
    """`a/b.txt` is the transcript of `a/b.wav`."""
    links: bool = False
    """Follow links that lead out of the folder, to files and folders: for a folder of links that you made yourself."""


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every sound file under `root`, by name; and every one that a table names but that is not there (it will fail).

    Raises: Refused where there is no folder, no sound file, or a table that cannot be read.
    """
    if not root.is_dir():
        raise Refused(f"{root}: no such folder of recordings")
    given, root = root, root.resolve()
    found, others = walk(root, links=cfg.links)
    if not found:
        links = others.pop("links to folders", 0)
        kinds = f"it holds {counted(others.total(), 'other file')}" if others else "it is empty"
        kinds += f", and {counted(links, 'link')} to folders, which are not followed" if links else ""
        raise Refused(f"{root}: no sound file in it ({kinds}); looked for {KINDS[:60]} ...")
    known = rows_by_file(root, found, given=given) if cfg.tables else {}
    for name in sorted({*found, *known}):
        row = known.get(name, {})
        text = why = None
        if cfg.text_beside and name in found and not tell(row, "text"):
            text, why = beside(root, name)
        outside = name in found and found[name].is_symlink() and not cfg.links and leads_out(root, name)
        yield recording(
            row,
            uri=os.fspath(root / name),
            name=name,
            size=size_of(found[name]) if name in found else 0,
            text=text,
            extra={"text_fault": why} if why else {},
            fault=LINK if outside else None if name in found else GONE,
        )


def rows_by_file(root: Path, found: Iterable[str], *, given: Path) -> dict[str, dict[str, Any]]:
    """Name of a file -> its row. A row that names a sound file which is not there has the name that it would have; an
    exact name comes before one that is written in another way."""
    told = rows_of_tables(root)
    files = Named(found if told else (), roots=(given.absolute(), root))
    known: dict[str, dict[str, Any]] = {}
    others: dict[str, dict[str, Any]] = {}
    for name, row in told.items():
        exact = files.exactly(name)
        (others if exact is None else known).setdefault(name if exact is None else exact, row)
    for name, row in others.items():
        at = files.loosely(name)
        if at is None and PurePosixPath(name).suffix.lower() in SUFFIXES and not leads_out(root, name.lstrip("/")):
            at = name.lstrip("/")
        if at is not None:
            known.setdefault(at, row)
    return known


def leads_out(root: Path, name: str) -> bool:
    """Does the name lead out of the folder?"""
    try:
        inside(root, name)
    except Outside:
        return True
    return False


def walk(root: Path, *, links: bool = False) -> tuple[dict[str, Path], Counter[str]]:
    """Whatever is called like a sound file under `root`, by relative name (what it is, `probe` will see); and how many
    other things are left alone, by their endings. Hidden ones are left out.

    Raises: Refused for a folder that cannot be listed.
    """
    found, others = dict[str, Path](), Counter[str]()
    for folder, folders, files in walked(root, links=links):
        others["links to folders"] += 0 if links else sum(os.path.islink(folder / item) for item in folders)
        for file in files:
            path = folder / file
            if file.startswith("."):
                continue
            if path.suffix.lower() in SUFFIXES:
                found[path.relative_to(root).as_posix()] = path
            else:
                others[path.suffix.lower() or "no ending"] += 1
    return found, +others


def left_alone(cfg: Config, root: Path) -> str:
    """What the folder holds beside its sound files, tables and transcripts, and which tables tell nothing of it; empty
    where it is nothing.

    Raises: Refused for a folder that cannot be listed.
    """
    found, others = walk(root.resolve(), links=cfg.links)
    unused = []
    if cfg.tables:
        tables = tables_in(root)
        others.subtract(path.suffix.lower() for path in tables)
        unused = [path.name for path in tables if not names_files(path)]
    if cfg.text_beside:
        others[".txt"] -= sum(bool(texts_of(path)) for path in found.values())
    others = +others
    kinds = ", ".join(f"{kind} {count}" for kind, count in others.most_common(8))
    told = [f"left alone: {kinds}{', ...' if len(others) > 8 else ''}"] if others else []
    if unused:
        shown = f"{', '.join(unused[:3])}{', ...' if len(unused) > 3 else ''}"
        told.append(f"no column of {shown} names sound files: the first line of a table names its columns (file, text)")
    return "; ".join(told)


def names_files(path: Path) -> bool:
    """Does the first row of a table name a file, or is there no row?"""
    row = next(iter(rows_of(path)), None)
    return row is None or tell(lowered(row), "file") is not None


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none, or it cannot be asked."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def tables_in(root: Path) -> list[Path]:
    """The files in the root that may be tables of transcripts, in order."""
    return sorted(item for item in root.iterdir() if item.suffix.lower() in (".tsv", ".csv", ".jsonl"))


def rows_of_tables(root: Path) -> dict[str, dict[str, Any]]:
    """File name as written in a table -> its row, from all tables in the root that name files; the first one wins."""
    told: dict[str, dict[str, Any]] = {}
    for path in tables_in(root):
        for row in rows_of(path):
            lower = lowered(row)
            name = tell(lower, "file")
            if name:
                told.setdefault(str(PurePosixPath(name)), lower)
    return told


def rows_of(path: Path) -> Iterator[Mapping[Any, Any]]:
    """The rows of a table.

    Raises: Refused
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() in (".jsonl", ".json"):
                rows = (json.loads(line) for line in bounded(file) if line.strip())
                yield from (row for row in rows if isinstance(row, dict))
                return
            head = next(bounded(file), "")
            file.seek(0)
            csv.field_size_limit(LONGEST_FIELD)
            comma = max(",|;", key=head.count)
            tab = path.suffix.lower() == ".tsv" or "\t" in head
            if tab:
                yield from csv.DictReader(bounded(file), delimiter="\t", quoting=csv.QUOTE_NONE)
            else:
                yield from csv.DictReader(bounded(file), delimiter=comma)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError, csv.Error) as error:
        raise Refused(f"{path}: cannot be read as a table of transcripts ({error}); mend it, or move it away") from None


def bounded(file: TextIO) -> Iterator[str]:
    """The lines of a table.

    Raises: csv.Error for one that is too long to be one.
    """
    while line := file.readline(LONGEST_FIELD + 1):
        if len(line) > LONGEST_FIELD:
            raise csv.Error(f"a line has more than {LONGEST_FIELD} characters")
        yield line


def beside(root: Path, name: str) -> tuple[bytes | None, str | None]:
    """The transcript in the text file of the same name, if there is one; or why that is not read."""
    for path in texts_of(root / name):
        data = small_text(root, path.relative_to(root).as_posix())
        return data, None if data is not None else "the text beside it has over 1 MB, or is a link out of the folder"
    return None, None


def texts_of(path: Path) -> list[Path]:
    """The text files beside a sound file that are called like it."""
    return [text for text in (path.with_suffix(ending) for ending in TEXTS) if os.path.isfile(text)]
