"""The catalog of recordings, `recordings.jsonl`: as it is written, and what there is in it and wrong with it."""

import hashlib
import json
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.log import counted
from infra.storage import replacing
from pipelines.funnel import duration
from pipelines.reading.containers import Files
from pipelines.row import Recording, facts_of

NEEDED = {"uri", "name", "bytes"}
"""Fields that every line has."""
SUMMARY_SOURCES = 20
"""Sources that are named in the summary of the artifact."""


def write_catalog(out: Path, found: Iterable[Recording]) -> None:
    """`recordings.jsonl`: one recording a line, written as they come; what is None, empty or false is left out."""
    with replacing(out / "recordings.jsonl") as file:
        for item in found:
            row = {
                key: value
                for key, value in facts_of(item).items()
                if key in NEEDED or value not in (None, "", {}, False)
            }
            file.write(line_of(row))


def line_of(row: Mapping[str, Any]) -> bytes:
    """A JSON line; file names that are not UTF-8 are escaped, and come back as they were."""
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(row) + "\n").encode()


def stamp(recording: Recording, files: Files) -> str:
    """What tells one version of a file from the next without reading it; its hash where that is known."""
    try:
        facts = files.facts(files.file_of(recording.uri)) if recording.uri else None
    except (OSError, ValueError):
        facts = None
    written = facts.st_mtime_ns if facts is not None and stat.S_ISREG(facts.st_mode) else None
    return recording.sha256 or ("missing" if written is None else f"{recording.bytes}:{written}")


@dataclass
class Faults:
    """What is wrong with recordings, as far as a reader can tell."""

    by_reason: Counter[str] = field(default_factory=Counter)
    """Reason -> recordings that cannot be used."""
    texts: int = 0
    """Transcripts that are there, but cannot be read."""
    first: str = ""
    """Whose, and why."""

    def see(self, recording: Recording) -> None:
        """Count one."""
        if recording.fault is not None:
            self.by_reason[recording.fault.split(":")[1]] += 1
        if why := recording.extra.get("text_fault"):
            self.texts += 1
            self.first = self.first or f"{recording.name}: {why}"

    def lines(self) -> list[str]:
        """For people; nothing where all is well."""
        lines = []
        if self.by_reason:
            kinds = ", ".join(f"{name} {count}" for name, count in self.by_reason.most_common(8))
            lines.append(f"{self.by_reason.total()} that cannot be used ({kinds})")
        if self.texts:
            first = self.first if self.texts == 1 else f"the first of {self.first}"
            lines.append(f"{counted(self.texts, 'transcript')} that cannot be read ({first})")
        return lines


class CountedRecordings:
    """The recordings of a reader as they pass by, and what there was of them at the end: millions fit through."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self.recordings = recordings
        self.disk = Files()
        self.digest = hashlib.sha256()
        self.files = self.bytes = self.evaluation = 0
        self.wrong = Faults()
        self.seconds = 0.0
        self.licenses: set[str] = set()
        self.sources: set[str] = set()

    def __iter__(self) -> Iterator[Recording]:
        for item in self.recordings:
            self.digest.update(f"{item.name}\0{stamp(item, self.disk)}\0{item.start_seconds}\n".encode())
            self.files += 1
            self.bytes += item.bytes
            self.evaluation += item.evaluation
            self.wrong.see(item)
            self.seconds += item.seconds or 0.0
            if item.fault is None:
                self.licenses.add(item.license)
                self.sources |= {item.source} if item.source and len(self.sources) < SUMMARY_SOURCES else set()
            yield item

    def summary(self) -> dict[str, Any]:
        """The few facts worth a line. Hours of a folder are known where the corpus tells them."""
        facts: dict[str, Any] = {
            "files": self.files,
            "megabytes": round(self.bytes / 1e6, 3),
            "licenses": sorted(self.licenses),
            "sources": sorted(self.sources),
        }
        more = {
            "faults": self.wrong.by_reason.total(),
            "text_faults": self.wrong.texts,
            "evaluation": self.evaluation,
            "told_hours": round(self.seconds / 3600, 3),
        }
        return facts | {name: value for name, value in more.items() if value}

    def line(self, folder: Path, *, expected_hours: float | None) -> str:
        """What was found, for the person who watches."""
        parts = [f"{self.files} recordings in {folder}"]
        if self.seconds:
            of = f" of the {expected_hours:,g} h that are published" if expected_hours else ""
            parts.append(f"{duration(self.seconds / 3600)}{of}")
        if self.evaluation:
            parts.append(f"{self.evaluation} of evaluation sets")
        return ", ".join([*parts, *self.wrong.lines()])
