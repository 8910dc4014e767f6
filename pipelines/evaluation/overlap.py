"""What a bundle and the corpus of its evaluation both come from: scores of what was trained on say little else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.ancestry import Ancestor, ancestors, slot_of_path, version
from infra.storage import read_json
from infra.workflow.node import Job, Made, Refused
from infra.workflow.store import Store
from pipelines.policy.tombstones import store_of

KINDS = ("corpus", "recordings")


@dataclass(frozen=True)
class Overlap:
    """What was found, and what could not be looked at."""

    found: list[str]
    """The corpora and recordings above both, known by their digests: `corpus toy@0123abcd`."""
    unseen: list[str]
    """What is not known of either, and why, a phrase each. None, and none found: they have nothing in common."""


def overlap(job: Job) -> Overlap:
    """Look at all that the bundle and the corpus of an evaluation were made from, as far as a store or a card tells."""
    if "data" not in job.inputs:
        return Overlap([], ["what is spoken comes from the manifest or from a list of files, not from a corpus"])
    roots = [root for made in job.inputs.values() if (root := store_of(made.out)) is not None]
    store = Store(roots[0]) if roots else None
    bundle, data = (list(all_of(tree_of(job.inputs[role], store))) for role in ("bundle", "data"))
    trained = {(at.kind, at.digest) for at in bundle if at.kind in KINDS}
    both = {f"{at.kind} {version(at)}" for at in data if (at.kind, at.digest) in trained}
    unseen = {told: None for at in (*bundle, *data) if (told := unknown(at)) is not None}
    return Overlap(sorted(both), list(unseen))


def tree_of(made: Made, store: Store | None) -> Ancestor:
    """An artifact and all above it; of one from outside the store, as much as the card of its bundle says."""
    if store is not None:
        try:
            return ancestors(store, slot_of_path(store, made.out))
        except Refused:
            pass
    card = read_json(made.out / "bundle" / "stipple.json") or {}
    parents = card.get("parents")
    told = parents.items() if isinstance(parents, Mapping) else ()
    inputs = {role: parent for role, facts in told if (parent := named(role, facts)) is not None}
    return Ancestor(made.name, made.kind, made.digest, made.run, None, inputs=inputs)


def named(role: str, facts: Any) -> Ancestor | None:
    """A parent that a card names; None where it does not say which."""
    if not isinstance(facts, Mapping) or not facts.get("digest"):
        return None
    kind = "train" if role == "start_from" else "corpus"
    return Ancestor(str(facts.get("name") or role), kind, str(facts["digest"]), str(facts.get("run") or ""), None)


def all_of(at: Ancestor) -> Iterator[Ancestor]:
    """A tree, artifact by artifact."""
    yield at
    for source in at.inputs.values():
        yield from all_of(source)


def unknown(at: Ancestor) -> str | None:
    """What is not known of an artifact; None where it is known what it was made from."""
    if at.folder is not None or at.inputs or at.kind == "recordings":
        return None
    what = "which recordings it is made of" if at.kind == "corpus" else "what it was trained on"
    return f"{version(at)} is not in the store, so that nothing says {what}"
