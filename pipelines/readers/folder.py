"""Any folder of sound files; transcripts from tables in its root, or from a text file beside each sound file."""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.row import Recording

KINDS = (
    "wav wave flac mp3 mp2 ogg oga opus spx m4a m4b mp4 aac aif aiff aifc au snd sph nist caf w64 rf64 amr wma webm "
    "mka mkv mov 3gp ac3 wv ape tta avi"
)
SUFFIXES = frozenset(f".{kind}" for kind in KINDS.split())
COLUMNS = {
    "file": ("file", "path", "audio", "audio_filepath", "audio_path", "file_name", "filename", "wav", "wav_path", "id"),
    "text": ("transcript", "transcription", "text", "sentence", "label", "normalized_text"),
    "language": ("language", "lang", "locale", "language_code"),
    "speaker": ("speaker", "speaker_id", "speaker_name", "spk", "client_id"),
    "license": ("license", "licence", "license_clip", "licence_clip"),
    "source": ("source", "url", "source_url", "repo"),
}
"""What a recording wants to know -> columns that tell it, best first; letter case does not matter."""
NOTHING = {"", "not stated", "n/a", "none", "null", "unknown", "-"}
LONGEST_FIELD = 1 << 20


class Config(Manifest):
    tables: bool = True
    """Look for .tsv, .csv and .jsonl tables in the root."""
    text_beside: bool = True
    """`a/b.txt` is the transcript of `a/b.wav`."""


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every sound file under `root`, by name; and every one that a table names but that is not there (it will fail).

    Raises: Refused where there is no folder, no sound file, or a table that cannot be read.
    """
    if not root.is_dir():
        raise Refused(f"{root}: no such folder of recordings")
    found, others = walk(root)
    if not found:
        kinds = f"it holds {others} other file{'s' * (others != 1)}" if others else "it is empty"
        raise Refused(f"{root}: no sound file in it ({kinds}); looked for {KINDS[:60]} ...")
    told = rows_of_tables(root) if cfg.tables else {}
    by_stem = {str(PurePosixPath(name).with_suffix("")): name for name in sorted(found, reverse=True)}
    known: dict[str, dict[str, Any]] = {}
    for name, row in told.items():
        inside = name if name in found else by_stem.get(name)
        if inside is None and PurePosixPath(name).suffix.lower() in SUFFIXES and ".." not in PurePosixPath(name).parts:
            inside = name.lstrip("/")
        if inside is not None:
            known[inside] = row
    for name in sorted({*found, *known}):
        row = known.get(name, {})
        text = tell(row, "text") or (beside(found[name]) if cfg.text_beside and name in found else None)
        yield Recording(
            uri=os.fspath(root.resolve() / name),
            name=name.encode("utf-8", "backslashreplace").decode(),
            bytes=found[name].stat().st_size if name in found else 0,
            text=text,
            language=tell(row, "language"),
            speaker=tell(row, "speaker"),
            license=tell(row, "license") or "unknown",
            source=tell(row, "source") or "",
            extra={key: value for key, value in row.items() if key not in spent(row) and value not in ("", None)},
        )


def walk(root: Path) -> tuple[dict[str, Path], int]:
    """Sound files under `root` by relative name, and how many other files there are; hidden ones are left out."""
    found, others = {}, 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(item for item in folders if not item.startswith("."))
        for file in files:
            path = Path(folder) / file
            if path.suffix.lower() in SUFFIXES and not file.startswith(".") and path.is_file():
                found[path.relative_to(root).as_posix()] = path
            else:
                others += 1
    return found, others


def rows_of_tables(root: Path) -> dict[str, dict[str, Any]]:
    """File name as written in a table -> its row, from all tables in the root that name files; the first one wins."""
    told: dict[str, dict[str, Any]] = {}
    for path in sorted(item for item in root.iterdir() if item.suffix.lower() in (".tsv", ".csv", ".jsonl")):
        for row in rows_of(path):
            lower = {str(key).strip().lower(): value for key, value in row.items() if key is not None}
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
            if path.suffix.lower() == ".jsonl":
                yield from (row for line in file if line.strip() and isinstance(row := json.loads(line), dict))
                return
            head = file.readline()
            file.seek(0)
            csv.field_size_limit(LONGEST_FIELD)
            comma = max(",|;", key=head.count)
            tab = path.suffix.lower() == ".tsv" or "\t" in head
            if tab:
                yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            else:
                yield from csv.DictReader(file, delimiter=comma)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise Refused(f"{path}: cannot be read as a table of transcripts ({error}); mend it, or move it away") from None


def tell(row: Mapping[str, Any], what: str) -> str | None:
    """What the row says of `what`, under whichever name; None where it says nothing."""
    for column in COLUMNS[what]:
        value = row.get(column)
        if isinstance(value, str) and value.strip().lower() not in (NOTHING if what != "text" else {""}):
            return " ".join(value.split())
    return None


def spent(row: Mapping[str, Any]) -> set[str]:
    """Columns that have become fields of the recording: in each group, the one that spoke."""
    used = set()
    for columns in COLUMNS.values():
        used |= {next((column for column in columns if str(row.get(column) or "").strip()), "")}
    return used


def beside(path: Path) -> str | None:
    """The transcript in the text file of the same name, if there is one."""
    file = path.with_suffix(".txt")
    if not file.is_file() or file.stat().st_size > LONGEST_FIELD:
        return None
    text = " ".join(file.read_text(encoding="utf-8", errors="replace").split())
    return text or None
