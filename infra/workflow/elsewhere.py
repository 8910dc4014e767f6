"""Artifacts by the paths and URLs that a person gives: of the store, and corpora and bundles from elsewhere."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from infra.ancestry import find, slot_of_path
from infra.digests import tree_digest
from infra.objects import place_of, point
from infra.storage import part_of, read_json
from infra.workflow.node import Made, Refused
from infra.workflow.store import Store

if TYPE_CHECKING:
    from infra.buckets import Storage

SELECTIONS = "_selections"
"""The store's folder of views, each under its name: no node can be called so."""
ELSEWHERE = "_elsewhere"
"""The store's folder of links to bundles and corpora that it did not make."""


def artifact_at(place: str | Path, store: Store, *, storage: "Storage | None" = None, kind: str | None = None) -> Made:
    """The artifact that a path lies in, or that a name of the store means. A corpus from elsewhere is known by the
    digest that it says itself, as in a store: no shard is read, and what is taken down of it later does not make
    another one of it. A bundle from elsewhere is known by the digest of its files. So is any folder or file that is
    none of them, where the `kind` that is wanted is recordings.

    Raises: Refused where there is none of them.
    """
    if "://" in str(place):
        return published_at(str(place), store, storage=storage)
    path = place_named(place, store, kind=kind).resolve()
    try:
        made = slot_of_path(store, path).made()
    except Refused:
        made = None
    if made is not None:
        return made
    for card in (path / "corpus.json", path / "selection.json"):
        if card.is_file():
            told = read_json(card) or {}
            if not (told.get("digest") and told.get("name")):
                raise Refused(f"{card}: torn, or no card of a corpus; it says neither name nor digest")
            digest = str(told["digest"])
            return Made(kind="corpus", name=str(told["name"]), out=path, digest=digest, fingerprint=digest, run="")
    if kind != "recordings" and not any(
        (path / inner / "config.json").is_file() for inner in ("", "bundle", "out/bundle")
    ):
        raise Refused(
            f"{path}: neither in an artifact of the store {store.root}, nor a corpus (it has no corpus.json and no "
            "selection.json), nor a bundle (it has no config.json)"
        )
    digest, out = tree_digest(path), path
    if (path / "config.json").is_file():
        out = store.root / ELSEWHERE / digest[:16]  # jobs look for `bundle` in an artifact: give them one that has it
        link_to(path, at=out / "bundle")
    return Made(kind="train", name=path.name, out=out, digest=digest, fingerprint=digest, run="")


def place_named(word: str | Path, store: Store, *, kind: str | None = None) -> Path:
    """The path, where it is there; else what a name, `name@digest`, run or fingerprint of the store means: its folder.

    Raises: Refused
    """
    path = Path(word)
    if path.exists():
        return path
    view = store.root / SELECTIONS / str(word)
    if kind == "corpus" and view.is_dir():
        return view
    try:
        return find(store, str(word), kind=kind).out
    except Refused as error:
        raise Refused(f"{path}: no such file or folder, and {error}") from None


def bundle_named(word: str | Path, store: Store) -> str | Path:
    """The same of a bundle, where it is no hub id (`owner/model`) and no path below a folder.

    Raises: Refused
    """
    return word if "/" in str(word) else place_named(word, store, kind="train")


def link_to(path: Path, *, at: Path) -> None:
    """A link at `at` to `path`, which is there at every moment, whoever else makes it at the same time."""
    if at.is_symlink() and at.readlink() == path:
        return
    at.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(at)
    part.symlink_to(path)
    part.replace(at)


def published_at(url: str, store: Store, *, storage: "Storage | None") -> Made:
    """A corpus in an object store: a folder of the store stands for it.

    Raises: Refused where there is none, or the store does not answer.
    """
    try:
        card = json.loads(place_of(url, storage).read("corpus.json"))
        digest, name = str(card["digest"]), str(card["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{url}: no published corpus ({error})") from None
    out = store.root / ELSEWHERE / digest[:16]
    point(out, url, storage)
    return Made(kind="corpus", name=name, out=out, digest=digest, fingerprint=digest, run="")
