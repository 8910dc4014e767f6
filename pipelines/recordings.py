"""The node that catalogs recordings: those of a folder, or synthetic ones made here."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from infra.manifest import Entry, Manifest, entry_of, resolve
from infra.workflow.node import Job, Outcome, Refused
from pipelines.catalog import CountedRecordings, write_catalog
from pipelines.policy.licenses import TERMS, terms_of
from pipelines.readers import folder
from pipelines.reading.admit import admitted, filled_in
from pipelines.reading.columns import is_evaluation
from pipelines.reading.layouts import walked
from pipelines.row import Recording
from pipelines.synthetic.make import Synthetic, make

if TYPE_CHECKING:
    ReaderEntry = Entry
else:
    ReaderEntry = entry_of("pipelines.readers")


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
    "pipelines/recordings.py", "pipelines/catalog.py", "pipelines/row.py", "pipelines/readers", "pipelines/reading",
    "pipelines/synthetic", "models/frozen/espeak.py",
)  # fmt: skip


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
        return make(job, manifest.synthetic)
    if manifest.how_to_get and not manifest.folder.is_dir():
        raise Refused(
            f"{manifest.folder}: no such folder. {manifest.how_to_get} Then say where: "
            "--set folder=FOLDER (in a workflow --set NODE.folder=FOLDER)"
        )
    reader = resolve("pipelines.readers", manifest.reader.name)
    read = reader.recordings(manifest.reader.settings, manifest.folder)
    found = CountedRecordings(with_defaults(item, manifest) for item in admitted(read, allow_evaluation=True))
    write_catalog(job.out, found)
    if not found.files:
        raise Refused(f"{manifest.folder}: the reader {manifest.reader.name!r} finds no recording in it")
    job.say(found.line(manifest.folder, expected_hours=manifest.expected_hours))
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
    extra = {**recording.extra, "restored": True} if manifest.restored else recording.extra
    filled = filled_in(recording, license=manifest.license, source=manifest.source, language=manifest.language)
    return replace(filled, evaluation=evaluation, extra=extra)
