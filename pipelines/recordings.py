"""The catalog of recordings that a corpus is made from: of a folder of one's own, or of synthetic ones made here."""

import hashlib
import io
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from infra.digests import file_digest
from infra.manifest import Entry, Manifest, entry_of, resolve
from infra.storage import replacing, write_atomic
from infra.workflow.node import Job, Outcome, Refused
from pipelines.policy.licenses import TERMS, terms_of
from pipelines.readers import folder
from pipelines.reading.admit import admitted
from pipelines.reading.columns import is_evaluation
from pipelines.reading.containers import Files
from pipelines.reading.layouts import walked
from pipelines.row import Recording, facts_of
from pipelines.synthetic.synthesize import EXPECT, VOICES, Take, takes

if TYPE_CHECKING:
    ReaderEntry = Entry
else:
    ReaderEntry = entry_of("pipelines.readers")


class Synthetic(Manifest):
    """How much to make when there is no folder."""

    seed: int = Field(default=0, ge=0)
    voices: int = Field(default=len(VOICES), ge=1, le=len(VOICES))
    sentences_per_voice: int = Field(default=6, ge=1, le=12)
    faults: bool = True
    """Also noise, music, a dialogue, and one of each kind of damage."""


class RecordingsManifest(Manifest):
    """A folder of recordings, or none."""

    folder: Path | None = None
    """Recordings of one's own: they stay where they are. Null: make synthetic ones."""
    reader: ReaderEntry = Field(default="folder", validate_default=True)
    """Layout of the folder."""
    license: str = "unknown"
    """Of the recordings that do not say it themselves, like the next two."""
    source: str = ""
    language: str | None = None
    title: str = ""
    """Of an open corpus, like all that follows."""
    terms: list[str] | None = None
    """What the license asks, for people: `stipple check` holds it against pipelines/policy/licenses.py."""
    attribution: str = ""
    """Whom to name."""
    expected_hours: float | None = Field(default=None, gt=0)
    """Of the whole corpus, as published."""
    splits_for_training: list[str] | None = None
    """Parts of the corpus that may be trained on; all others are evaluation sets. Null: as the reader knows them."""
    restored: bool = False
    """The recordings were enhanced by whoever published them."""
    how_to_get: str = ""
    """Where and how a person gets the corpus; nothing is ever downloaded from here."""
    synthetic: Synthetic = Synthetic()

    @model_validator(mode="after")
    def _one_of_both(self) -> "RecordingsManifest":
        if self.folder is not None and "synthetic" in self.model_fields_set:
            raise ValueError("give folder, or synthetic, not both")
        if self.terms is not None and set(self.terms) != terms_of(self.license):
            asked = ", ".join(sorted(terms_of(self.license))) or "nothing"
            raise ValueError(
                f"terms: {self.license} asks {asked}; pipelines/policy/licenses.py knows {', '.join(TERMS)}"
            )
        return self


MANIFEST = RecordingsManifest
ROLES: Mapping[str, bool] = {}
TOLD = {"reader", "license", "source", "language", "splits_for_training", "restored"}
"""What of the manifest of a folder decides the catalog."""
CODE = (
    "pipelines/recordings.py", "pipelines/row.py", "pipelines/readers", "pipelines/reading", "pipelines/synthetic",
    "models/frozen/espeak.py",
)  # fmt: skip
NEEDED = {"uri", "name", "bytes"}
SYNTHETIC_LICENSE = "Apache-2.0"
SYNTHETIC_SOURCE = "synthetic: sentences of this project, spoken by eSpeak NG"


def identity(manifest: Manifest) -> Mapping[str, Any]:
    """For a folder: its listing (names, sizes, times), so that a change in it makes a new catalog."""
    assert isinstance(manifest, RecordingsManifest)
    if manifest.folder is None:
        return {"synthetic": manifest.synthetic.model_dump(mode="json")}
    told = manifest.model_dump(mode="json", include=TOLD)
    listing = listing_digest(manifest.folder, links=getattr(manifest.reader.settings, "links", False))
    return {**told, "folder": str(manifest.folder.resolve()), "listing": listing}


def listing_digest(root: Path, *, links: bool = False) -> str:
    """sha256 over the name, size and time of every file, folder by folder, and over what cannot be listed; of nothing,
    where there is no folder: the run will tell of both."""
    state = hashlib.sha256()

    def put(path: str | Path, facts: str) -> None:
        state.update(os.fsencode(f"{os.path.relpath(path, root)}\0{facts}\n"))

    for at, _, files in walked(root, links=links, failed=lambda error: put(error.filename, str(error.errno))):
        for file in files:
            try:
                facts = (at / file).stat()
            except OSError as error:
                put(at / file, str(error.errno))
            else:
                put(at / file, f"{facts.st_size}\0{facts.st_mtime_ns}")
    return state.hexdigest()


def run(job: Job) -> Outcome:
    """Write `recordings.jsonl` (and, for synthetic ones, `audio/` and `truth.jsonl`) into `job.out`.

    Raises: Refused for a folder that is missing, empty, or without sound files.
    """
    manifest = job.manifest
    assert isinstance(manifest, RecordingsManifest)
    if manifest.folder is None:
        return synthetic(job, manifest.synthetic)
    if manifest.how_to_get and not manifest.folder.is_dir():
        raise Refused(
            f"{manifest.folder}: no such folder. {manifest.how_to_get} Then say where: "
            "--set folder=FOLDER (in a workflow --set NODE.folder=FOLDER)"
        )
    reader = resolve("pipelines.readers", manifest.reader.name)
    read = reader.recordings(manifest.reader.settings, manifest.folder)
    found = Found(with_defaults(item, manifest) for item in admitted(read, allow_evaluation=True))
    write_catalog(job.out, found)
    if not found.files:
        raise Refused(f"{manifest.folder}: the reader {manifest.reader.name!r} finds no recording in it")
    job.say(found.line(manifest))
    settings = manifest.reader.settings
    if isinstance(settings, folder.Config) and (aside := folder.left_alone(settings, manifest.folder)):
        job.say(aside)
    summary = {**found.summary(), "root": str(manifest.folder.resolve()), "roots": roots_of(manifest)}
    return Outcome(digest=found.digest.hexdigest(), summary=summary)


def roots_of(manifest: RecordingsManifest) -> list[str]:
    """The folders that the catalog may lead into: the one that was read, and those that its reader was given."""
    settings = manifest.reader.settings
    if getattr(settings, "links", False):
        return ["/"]
    more = [getattr(settings, "audio_root", None), *getattr(settings, "roots", [])]
    return [str(Path(root).resolve()) for root in (manifest.folder, *more) if root is not None]


def with_defaults(recording: Recording, manifest: RecordingsManifest) -> Recording:
    """The recording, with what the manifest says where it says nothing itself."""
    splits = manifest.splits_for_training
    evaluation = recording.evaluation or is_evaluation(recording.split)
    if splits is not None and recording.split is not None:
        evaluation = recording.split not in splits
    return replace(
        recording,
        license=manifest.license if recording.license == "unknown" else recording.license,
        source=recording.source or manifest.source,
        language=recording.language or manifest.language,
        evaluation=evaluation,
        extra={**recording.extra, "restored": True} if manifest.restored else recording.extra,
    )


def stamp(recording: Recording, files: Files) -> str:
    """What tells one version of a file from the next without reading it; its hash where that is known."""
    try:
        facts = files.facts(str(files.file_of(recording.uri))) if recording.uri else None
    except (OSError, ValueError):
        facts = None
    written = facts.st_mtime_ns if facts is not None and stat.S_ISREG(facts.st_mode) else None
    return recording.sha256 or ("missing" if written is None else f"{recording.bytes}:{written}")


@dataclass
class Amiss:
    """What is wrong with recordings, as far as a reader can tell."""

    faults: Counter[str] = field(default_factory=Counter)
    """Reason -> recordings that cannot be used."""
    texts: int = 0
    """Transcripts that are there, but cannot be read."""
    first: str = ""
    """Whose, and why."""

    def see(self, recording: Recording) -> None:
        """Count one."""
        if recording.fault is not None:
            self.faults[recording.fault.split(":")[1]] += 1
        if why := recording.extra.get("text_fault"):
            self.texts += 1
            self.first = self.first or f"{recording.name}: {why}"

    def told(self) -> list[str]:
        """For people; nothing where all is well."""
        lines = []
        if self.faults:
            kinds = ", ".join(f"{name} {count}" for name, count in self.faults.most_common(8))
            lines.append(f"{self.faults.total()} that cannot be used ({kinds})")
        if self.texts:
            first = self.first if self.texts == 1 else f"the first of {self.first}"
            lines.append(f"{self.texts} transcript{'s' * (self.texts != 1)} that cannot be read ({first})")
        return lines


class Found:
    """The recordings of a reader as they pass by, and what there was of them at the end: millions fit through."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self.recordings = recordings
        self.files_asked = Files()
        self.digest = hashlib.sha256()
        self.files = self.bytes = self.evaluation = 0
        self.amiss = Amiss()
        self.seconds = 0.0
        self.licenses: set[str] = set()
        self.sources: set[str] = set()

    def __iter__(self) -> Iterator[Recording]:
        for item in self.recordings:
            self.digest.update(f"{item.name}\0{stamp(item, self.files_asked)}\0{item.start_seconds}\n".encode())
            self.files += 1
            self.bytes += item.bytes
            self.evaluation += item.evaluation
            self.amiss.see(item)
            self.seconds += item.seconds or 0.0
            if item.fault is None:
                self.licenses.add(item.license)
                self.sources |= {item.source} if item.source and len(self.sources) < 20 else set()
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
            "faults": self.amiss.faults.total(),
            "text_faults": self.amiss.texts,
            "evaluation": self.evaluation,
            "told_hours": round(self.seconds / 3600, 3),
        }
        return facts | {name: value for name, value in more.items() if value}

    def line(self, manifest: RecordingsManifest) -> str:
        """What was found, for the person who watches."""
        parts = [f"{self.files} recordings in {manifest.folder}"]
        if self.seconds:
            of = f" of the {manifest.expected_hours:,g} that are published" if manifest.expected_hours else ""
            parts.append(f"{self.seconds / 3600:,.1f} hours{of}")
        if self.evaluation:
            parts.append(f"{self.evaluation} of evaluation sets")
        return ", ".join([*parts, *self.amiss.told()])


def synthetic(job: Job, cfg: Synthetic) -> Outcome:
    """Make the recordings; the same settings give the same bytes."""
    found, truths = [], []
    for take in takes(**cfg.model_dump()):
        path = job.out / "audio" / take.name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, encoded(take))
        found.append(
            Recording(
                uri=f"audio/{take.name}",
                name=take.name,
                bytes=path.stat().st_size,
                sha256=file_digest(path),
                license=SYNTHETIC_LICENSE,
                source=SYNTHETIC_SOURCE,
                **take.told,
            )
        )
        seconds = round(len(take.wave_S) / take.rate_hz, 3)
        truth = {"name": take.name, "kind": take.kind, "expect": EXPECT[take.kind], "seconds": seconds}
        truths.append({**truth, **take.truth})
    passed = Found(found)
    write_catalog(job.out, passed)
    write_atomic(job.out / "truth.jsonl", lines(truths))
    hours = sum(truth["seconds"] for truth in truths) / 3600
    kinds = Counter(truth["kind"] for truth in truths)
    job.say(
        f"made {len(found)} recordings, {hours * 60:.1f} minutes: {', '.join(f'{n} {k}' for k, n in kinds.items())}"
    )
    digest = hashlib.sha256("".join(f"{r.name}\0{r.sha256}\n" for r in found).encode()).hexdigest()
    return Outcome(digest=digest, summary={**passed.summary(), "hours": round(hours, 4), "root": "audio"})


def encoded(take: Take) -> bytes:
    """The file of a take: 16-bit WAV or FLAC by its name, cut short or not a sound file at all where it should be."""
    import soundfile

    if take.raw is not None:
        return take.raw
    buffer = io.BytesIO()
    kind = Path(take.name).suffix[1:].upper()
    soundfile.write(buffer, take.wave_S, take.rate_hz, format=kind, subtype="PCM_16")
    whole = buffer.getvalue()
    return whole if take.cut_at is None else whole[: int(len(whole) * take.cut_at)]


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


def lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
