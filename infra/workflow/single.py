"""One job outside a workflow, by the same rules: fingerprint, store, resume, lineage. Also `stipple recordings`."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from infra.ancestry import slot_of_path
from infra.cluster import Cluster, ClusterManifest
from infra.digests import tree_digest
from infra.examples import add_examples
from infra.manifest import ManifestError, load
from infra.objects import place_of, point
from infra.settings import add_set, settings_of
from infra.shipping import Shipping, default_tracking
from infra.storage import ROOT, part_of, read_json
from infra.workflow.graph import build
from infra.workflow.manifest import NAME, NodeManifest, WorkflowManifest
from infra.workflow.node import KINDS, Made, Refused
from infra.workflow.plan import node_plan
from infra.workflow.run import WorkflowRun
from infra.workflow.store import Store

if TYPE_CHECKING:
    from infra.buckets import Storage

SUMMARY = "catalog a folder of recordings, or make synthetic ones"

STORE = ROOT / ".stipple" / "store"
CLUSTER = ROOT / "manifests" / "clusters" / "laptop.yaml"


ELSEWHERE = "_elsewhere"
"""The store's folder of links to bundles and corpora that it did not make."""


def single(
    kind: str,
    manifest_path: str | Path,
    *,
    inputs: Mapping[str, str | Path] | None = None,
    storage: "Storage | None" = None,
    overrides: Mapping[str, str] | None = None,
    name: str | None = None,
    store: Path = STORE,
    tracking: str | None = None,
    cluster: Path = CLUSTER,
    force: bool = False,
    resume: bool = False,
    kinds: Mapping[str, str] = KINDS,
) -> Made:
    """Make one artifact, or find it made. `inputs`: role -> an artifact's folder (or anything in it), a bare folder, or
    the URL of a published corpus, in a store that `storage` says how to reach. `resume`: only what was begun and left.

    Raises: ManifestError and Refused, sentences for a person; KeyboardInterrupt when stopped.
    """
    path = Path(manifest_path).resolve()
    whose = "name" if name else "its file name"
    name = name or path.stem.lower().replace("-", "_")
    if not NAME.fullmatch(name):
        told = f"{whose}: {name!r} cannot name a node: small letters, digits and _, and a letter first"
        raise ManifestError(str(manifest_path), [told])
    kept = Store(Path(store).resolve())
    given = {
        role: artifact_at(place, kept, storage=storage, bare=role == "recordings")
        for role, place in (inputs or {}).items()
    }
    one = WorkflowManifest(name=name, nodes={name: NodeManifest(kind=kind, manifest=path)})
    try:
        nodes = build(one, root=ROOT, overrides={name: dict(overrides or {})}, given={name: given}, kinds=kinds)
    except ManifestError as error:  # nobody has written a workflow
        own = [told.removeprefix(f"nodes.{name}.").removeprefix(f"manifest: {path}: ") for told in error.problems]
        raise ManifestError(str(manifest_path), own) from None
    if resume and (planned := node_plan(nodes[name], {}, kept)).verdict != "resume":
        told = f"nothing was begun and left unfinished with these values ({planned.reason})"
        raise Refused(f"{name}: {told}; to begin, use run")
    machines = load(ClusterManifest, cluster)
    uri = tracking or default_tracking(kept.root)
    forced = {name} if force else set()
    with Shipping(kept.root, uri) as shipping, Cluster(machines) as started:
        try:
            run = WorkflowRun(name, nodes, kept, started, shipping, kind, {name}, forced, top=False)
            row = run.go()[name]
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the same command goes on from there") from None
    if row.made is None:
        raise Refused(row.note)
    return row.made


def artifact_at(place: str | Path, store: Store, *, storage: "Storage | None" = None, bare: bool = False) -> Made:
    """The artifact that a path lies in. A corpus from elsewhere is known by the digest that it says itself, as in a
    store: no shard is read, and what is taken down of it later does not make another one of it. A bundle from elsewhere
    is known by the digest of its files. So is any folder or file that is none of them, where it may be `bare`.

    Raises: Refused where there is none of them.
    """
    if "://" in str(place):
        return published_at(str(place), store, storage=storage)
    path = Path(place)
    if not path.exists():
        raise Refused(
            f"{path}: no such file or folder; give the folder of an artifact, or the path of one of its files"
        )
    path = path.resolve()
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
    if not bare and not any((path / inner / "config.json").is_file() for inner in ("", "bundle", "out/bundle")):
        raise Refused(
            f"{path}: neither in an artifact of the store {store.root}, nor a corpus (it has no corpus.json and no "
            "selection.json), nor a bundle (it has no config.json)"
        )
    digest, out = tree_digest(path), path
    if (path / "config.json").is_file():
        out = store.root / ELSEWHERE / digest[:16]  # jobs look for `bundle` in an artifact: give them one that has it
        link_to(path, at=out / "bundle")
    return Made(kind="train", name=path.name, out=out, digest=digest, fingerprint=digest, run="")


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`stipple recordings MANIFEST`."""
    parser.add_argument("manifest", type=Path, help="a manifest in manifests/recordings/")
    add_set(parser)
    parser.add_argument("--force", action="store_true", help="make it again; the old one is kept")
    add_examples(
        parser,
        "recordings manifests/recordings/emilia.yaml --set folder=/data/emilia",
        "recordings manifests/recordings/quickstart.yaml",
    )


def main(args: argparse.Namespace) -> int:
    """Catalog, and print where the catalog lies."""
    made = single("recordings", args.manifest, overrides=settings_of(args.set), force=args.force)
    print(made.out / "recordings.jsonl")
    return 0
