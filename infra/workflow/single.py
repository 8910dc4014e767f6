"""One job outside a workflow, by the same rules: fingerprint, store, resume, lineage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from infra.cluster import Cluster, ClusterManifest
from infra.manifest import ManifestError, load
from infra.shipping import Shipping, default_tracking
from infra.storage import ROOT
from infra.workflow.elsewhere import artifact_at
from infra.workflow.graph import Node, node_alone
from infra.workflow.manifest import NAME, WorkflowManifest
from infra.workflow.node import KINDS, Made, Refused
from infra.workflow.plan import node_plan
from infra.workflow.run import WorkflowRun
from infra.workflow.store import Store

if TYPE_CHECKING:
    from infra.buckets import Storage

STORE = ROOT / ".stipple" / "store"
CLUSTER = ROOT / "manifests" / "clusters" / "laptop.yaml"


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where a job runs, and where what it makes is kept."""

    store: Path = STORE
    tracking: str | None = None
    """An MLflow tracking URI; None: the store's own database."""
    cluster: Path = CLUSTER
    """A manifest."""
    storage: "Storage | None" = None
    """How the object store of an input is reached that is given by its URL."""
    kinds: Mapping[str, str] = field(default_factory=KINDS.copy)


def kind_of(role: str) -> str:
    """The kind of artifact that a name of the store means in this role."""
    return "recordings" if role == "recordings" else "corpus" if role.partition("_")[0] == "data" else "train"


def single(
    kind: str,
    manifest_path: str | Path,
    *,
    inputs: Mapping[str, str | Path] | None = None,
    overrides: Mapping[str, str] | None = None,
    name: str | None = None,
    force: bool = False,
    resume: bool = False,
    where: Where | None = None,
) -> Made:
    """Make one artifact, or find it made. `inputs`: role -> an artifact's folder (or anything in it), a bare folder, or
    the URL of a published corpus. `resume`: only what was begun and left.

    Raises: ManifestError and Refused, sentences for a person; KeyboardInterrupt when stopped.
    """
    where = where or Where()
    name = node_name(name, manifest_path)
    if not Path(manifest_path).exists():  # told before what is wrong with the inputs
        load(WorkflowManifest, manifest_path)
    store = Store(where.store.resolve())
    given = {
        role: artifact_at(place, store, storage=where.storage, kind=kind_of(role))
        for role, place in (inputs or {}).items()
    }
    try:
        node = node_alone(
            name, kind, Path(manifest_path).resolve(), given=given, overrides=overrides or {}, kinds=where.kinds
        )
    except ManifestError as error:
        raise ManifestError(str(manifest_path), error.problems) from None
    if resume and (planned := node_plan(node, {}, store)).verdict != "resume":
        told = f"nothing was begun and left unfinished with these values ({planned.reason})"
        raise Refused(f"{name}: {told}; to begin, use run")
    return run_alone(node, store, where, force=force)


def node_name(name: str | None, manifest_path: str | Path) -> str:
    """The name of the only node: the one that was given, or that of its manifest's file.

    Raises: ManifestError where it cannot be one.
    """
    own = name or Path(manifest_path).stem.lower().replace("-", "_")
    if not NAME.fullmatch(own):
        told = f"{'name' if name else 'its file name'}: {own!r} cannot name a node: small letters, digits and _, "
        raise ManifestError(str(manifest_path), [f"{told}and a letter first"])
    return own


def run_alone(node: Node, store: Store, where: Where, *, force: bool) -> Made:
    """Make a node as a workflow of it alone would, without a run of that workflow.

    Raises: Refused, KeyboardInterrupt.
    """
    cluster = load(ClusterManifest, where.cluster)
    tracking = where.tracking or default_tracking(store.root)
    with Shipping(store.root, tracking) as shipping, Cluster(cluster) as machines:
        run = WorkflowRun(
            workflow=node.name,
            nodes={node.name: node},
            store=store,
            cluster=machines,
            shipping=shipping,
            experiment=node.kind,
            wanted={node.name},
            forced={node.name} if force else set(),
            top=False,
        )
        try:
            row = run.go()[node.name]
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the same command goes on from there") from None
    if row.made is None:
        raise Refused(row.note)
    return row.made
