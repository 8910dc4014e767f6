"""What a bundle and the corpus of its evaluation both come from: scores of what was trained on say little else."""

from infra.ancestry import Ancestor, ancestors, slot_of_path, version
from infra.workflow.node import Job, Refused
from infra.workflow.store import Store
from pipelines.policy.tombstones import store_of

KINDS = ("corpus", "recordings")


def shared(job: Job) -> list[str]:
    """The corpora and recordings above both, as the store knows them: `corpus toy@0123abcd`.

    Empty where there are none, and where the store does not know.
    """
    roots = [root for made in job.inputs.values() if (root := store_of(made.out)) is not None]
    if not roots or "data" not in job.inputs:
        return []
    store = Store(roots[0])
    try:
        trees = [ancestors(store, slot_of_path(store, job.inputs[role].out)) for role in ("bundle", "data")]
    except Refused:
        return []
    bundle, data = (named(tree) for tree in trees)
    return sorted(bundle & data)


def named(at: Ancestor) -> set[str]:
    """The corpora and recordings of a tree."""
    own = {f"{at.kind} {version(at)}"} if at.kind in KINDS else set[str]()
    return own.union(*(named(source) for source in at.inputs.values()))
