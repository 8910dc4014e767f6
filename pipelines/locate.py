"""Where what a person names lies: a corpus by its folder or its name in the store, recordings by folder or catalog."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from infra.storage import ROOT

if TYPE_CHECKING:
    from pipelines.manifest import CorpusManifest
    from pipelines.row import Recording

CATALOG = ROOT / "manifests" / "recordings" / "folder.yaml"
"""The manifest by which a bare folder is cataloged."""


def corpus_at(word: str) -> Path:
    """The folder of a corpus or a view: a path, the folder above it, the (newest) one of that name in the store, or
    what `name@digest` or a run means there.

    Raises: CorpusError
    """
    from infra.ancestry import find
    from infra.workflow.elsewhere import SELECTIONS
    from infra.workflow.manifest import NAME
    from infra.workflow.node import Refused
    from infra.workflow.single import STORE
    from infra.workflow.store import Store
    from pipelines.policy.views import CARD
    from pipelines.shards import CorpusError

    path = Path(word)
    for folder in (path, path / "out", STORE / SELECTIONS / word):
        if (folder / "corpus.json").is_file() or (folder / CARD).is_file():
            return folder
    if path.is_dir():
        return path
    node = word.replace("-", "_")
    slots = Store(STORE).slots(node) if NAME.fullmatch(node) else []
    found = [slot.out for slot in slots if (slot.out / "corpus.json").is_file()]
    if found:
        return found[0]
    with contextlib.suppress(Refused):
        place = find(Store(STORE), word, kind="corpus").out
        if (place / "corpus.json").is_file():
            return place
    raise CorpusError(f"{word}: neither a folder, nor a corpus that was built here; `stipple corpus build` makes one")


def node_name(manifest: "CorpusManifest") -> str:
    """The name of the corpus in the store."""
    return manifest.name.replace("-", "_")


def recordings_at(place: Path, manifest: "CorpusManifest") -> "Iterable[Recording]":
    """The recordings of a folder or catalog, by the manifest's reader where that is not the catalog's.

    Raises: Refused
    """
    from infra.manifest import load, resolve
    from pipelines.readers import folder, jsonl
    from pipelines.recordings import RecordingsManifest, with_defaults

    if manifest.reader.name != "jsonl":
        read = resolve("pipelines.readers", manifest.reader.name).recordings
        found: Iterable[Recording] = read(manifest.reader.settings, place)
        return found
    if is_bare_folder(place):
        catalog = load(RecordingsManifest, CATALOG, folder_override(place))
        return (with_defaults(recording, catalog) for recording in folder.recordings(folder.Config(), place))
    at = place / "out" if (place / "out" / "recordings.jsonl").is_file() else place
    return jsonl.recordings(jsonl.Config(), at)


def is_bare_folder(place: Path) -> bool:
    """Is it a folder (or nothing at all) in which no catalog lies, neither as delivered nor as an artifact?"""
    catalogs = (place / "recordings.jsonl", place / "out" / "recordings.jsonl")
    return not place.exists() or (place.is_dir() and not any(catalog.is_file() for catalog in catalogs))


def folder_override(place: Path) -> dict[str, str]:
    """What `--set folder=PLACE` says to the manifest of a catalog."""
    return {"folder": json.dumps(str(place.resolve()))}
