"""One job outside a workflow, by the same rules: fingerprint, store, resume, lineage."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from infra.cluster import Cluster, ClusterManifest
from infra.manifest import ManifestError, load
from infra.shipping import Shipping, default_tracking
from infra.storage import ROOT
from infra.workflow.elsewhere import artifact_at
from infra.workflow.graph import build
from infra.workflow.manifest import NAME, NodeManifest, WorkflowManifest
from infra.workflow.node import KINDS, Made, Refused
from infra.workflow.plan import node_plan
from infra.workflow.run import WorkflowRun
from infra.workflow.store import Store

if TYPE_CHECKING:
    from infra.buckets import Storage

STORE = ROOT / ".stipple" / "store"
CLUSTER = ROOT / "manifests" / "clusters" / "laptop.yaml"


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
    if not path.exists():  # told before what is wrong with the inputs
        load(WorkflowManifest, manifest_path)
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
