"""The catalog of recordings that a corpus is made from: of a folder of one's own, or of synthetic ones made here."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from infra.manifest import Entry, Manifest, entry_of, resolve
from infra.storage import file_digest, write_atomic
from infra.workflow.node import Job, Outcome, Refused
from pipelines.row import Recording
from pipelines.synthesize import EXPECT, VOICES, Take, takes

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
    synthetic: Synthetic = Synthetic()

    @model_validator(mode="after")
    def _one_of_both(self) -> "RecordingsManifest":
        if self.folder is not None and "synthetic" in self.model_fields_set:
            raise ValueError("give folder, or synthetic, not both")
        return self


MANIFEST = RecordingsManifest
ROLES: Mapping[str, bool] = {}
CODE = (
    "pipelines/recordings.py", "pipelines/synthesize.py", "pipelines/sentences.py", "pipelines/sounds.py",
    "pipelines/row.py", "pipelines/readers", "models/frozen/espeak.py",
)  # fmt: skip
SYNTHETIC_LICENSE = "Apache-2.0"
SYNTHETIC_SOURCE = "synthetic: sentences of this project, spoken by eSpeak NG"


def identity(manifest: Manifest) -> Mapping[str, Any]:
    """For a folder: its listing (names, sizes, times), so that a change in it makes a new catalog."""
    assert isinstance(manifest, RecordingsManifest)
    if manifest.folder is None:
        return {"synthetic": manifest.synthetic.model_dump(mode="json")}
    told = manifest.model_dump(mode="json", include={"reader", "license", "source", "language"})
    return {**told, "folder": str(manifest.folder.resolve()), "listing": listing_digest(manifest.folder)}


def listing_digest(folder: Path) -> str:
    """sha256 over the name, size and time of every file; of nothing, where there is no folder (the run will say so)."""
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_file():
            facts = path.stat()
            name = path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape")
            state.update(name + f"\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return state.hexdigest()


def run(job: Job) -> Outcome:
    """Write `recordings.jsonl` (and, for synthetic ones, `audio/` and `truth.jsonl`) into `job.out`.

    Raises: Refused for a folder that is missing, empty, or without sound files.
    """
    manifest = job.manifest
    assert isinstance(manifest, RecordingsManifest)
    if manifest.folder is None:
        return synthetic(job, manifest.synthetic)
    reader = resolve("pipelines.readers", manifest.reader.name)
    found = [told(item, manifest) for item in reader.recordings(manifest.reader.settings, manifest.folder)]
    if not found:
        raise Refused(f"{manifest.folder}: the reader {manifest.reader.name!r} finds no recording in it")
    write_catalog(job.out, found)
    job.say(f"{len(found)} recordings in {manifest.folder}")
    digest = hashlib.sha256("".join(f"{r.name}\0{stamp(r)}\n" for r in found).encode()).hexdigest()
    return Outcome(digest=digest, summary={**summary(found), "root": str(manifest.folder.resolve())})


def told(recording: Recording, manifest: RecordingsManifest) -> Recording:
    """The recording, with what the manifest says where it says nothing itself."""
    known = asdict(recording)
    known["license"] = manifest.license if recording.license == "unknown" else recording.license
    known["source"] = recording.source or manifest.source
    known["language"] = recording.language or manifest.language
    return Recording(**known)


def stamp(recording: Recording) -> str:
    """What tells one version of a file from the next without reading it; its hash where that is known."""
    path = Path(recording.uri)
    return recording.sha256 or (f"{recording.bytes}:{path.stat().st_mtime_ns}" if path.is_file() else "missing")


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
    write_catalog(job.out, found)
    write_atomic(job.out / "truth.jsonl", lines(truths))
    hours = sum(truth["seconds"] for truth in truths) / 3600
    kinds = Counter(truth["kind"] for truth in truths)
    job.say(
        f"made {len(found)} recordings, {hours * 60:.1f} minutes: {', '.join(f'{n} {k}' for k, n in kinds.items())}"
    )
    digest = hashlib.sha256("".join(f"{r.name}\0{r.sha256}\n" for r in found).encode()).hexdigest()
    return Outcome(digest=digest, summary={**summary(found), "hours": round(hours, 4), "root": "audio"})


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


def write_catalog(out: Path, found: Sequence[Recording]) -> None:
    """`recordings.jsonl`: one recording a line; what is None or empty is left out."""
    rows = [{key: value for key, value in asdict(item).items() if value not in (None, "", {})} for item in found]
    write_atomic(out / "recordings.jsonl", lines(rows))


def lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def summary(found: Sequence[Recording]) -> dict[str, Any]:
    """The few facts worth a line. Hours of a folder are not known before its files are decoded."""
    return {
        "files": len(found),
        "megabytes": round(sum(item.bytes for item in found) / 1e6, 3),
        "licenses": sorted({item.license for item in found}),
        "sources": sorted({item.source for item in found if item.source})[:20],
    }
