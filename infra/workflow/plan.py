"""What will be done and why, node by node, from what the store holds; nothing is started to find out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.log import ago
from infra.workflow.fingerprint import NOT_MADE, Change, Parts, fingerprint_of, nearest, parts_of, sentence, sentences
from infra.workflow.graph import Node
from infra.workflow.node import Made
from infra.workflow.store import Slot, Store

SHOWN = 3
"""Differences told in a line."""


@dataclass(frozen=True)
class NodePlan:
    """A node, what is known of it, and what will be done."""

    node: Node
    verdict: str
    """`skip` (made), `run`, `resume` (broken), `wait` (its inputs are not made yet), `leave` (not asked for)."""
    reason: str
    parts: Parts = field(default_factory=dict)
    slot: Slot | None = None
    made: Made | None = None
    since: str = ""
    """The nearest fingerprint that was made or begun here before; empty where there is none."""
    changes: Sequence[Change] = ()
    """In what it differs from that one."""

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.parts)


def node_plan(node: Node, made: Mapping[str, Made], store: Store, *, forced: bool = False) -> NodePlan:
    """The verdict on one node, given the artifacts (by node name) that are made."""
    digests = {role: made[source].digest if source in made else NOT_MADE for role, source in node.inputs.items()}
    digests |= {role: artifact.digest for role, artifact in node.given.items()}
    parts = parts_of(node, digests)
    missing = sorted({source for source in node.inputs.values() if source not in made})
    if missing:
        return NodePlan(node, "wait", f"after {', '.join(missing)}", parts)
    slot = store.slot(node.name, fingerprint_of(parts))
    done, state = slot.made(), slot.state()
    if done is not None and not forced:
        when = ago(float((slot.commit_record() or {})["committed"]))
        return NodePlan(node, "skip", f"made {when}, as {done.fingerprint[:8]}", parts, slot, done)
    if done is not None:
        return NodePlan(node, "run", "forced", parts, slot)
    if state.get("attempt"):
        how = {"failed": "failed", "interrupted": "was stopped"}.get(state.get("status", ""), "was killed")
        if state.get("status") == "running" and not slot.left_running():
            how = "is at work in another process"
        return NodePlan(node, "resume", f"attempt {state['attempt']} {how}; goes on from its work folder", parts, slot)
    reason, since, changes = first_differences(parts, store, node.name)
    return NodePlan(node, "run", reason, parts, slot, since=since, changes=changes)


def first_differences(parts: Parts, store: Store, name: str) -> tuple[str, str, list[Change]]:
    """Why a node that is not made is not made, in a line; the nearest fingerprint before it, and all that differs."""
    near = nearest(parts, store.earlier(name))
    if near is None:
        return "never made here", "", []
    since, changes = near
    if not changes:
        begun = store.slot(name, fingerprint_of(parts)).state()
        return "another run has just begun it" if begun else "set aside, and not made again yet", since, []
    facts = sentences(changes)
    more = len(facts) - SHOWN
    return "; ".join(facts[:SHOWN]) + (f" (and {more} more)" if more > 0 else ""), *near


def plan(nodes: Mapping[str, Node], store: Store, *, wanted: set[str], forced: set[str]) -> list[NodePlan]:
    """The verdict on every node, in order."""
    made: dict[str, Made] = {}
    plans = []
    for name, node in nodes.items():
        planned = node_plan(node, made, store, forced=name in forced)
        if planned.made is not None:
            made[name] = planned.made
        elif name not in wanted:
            planned = NodePlan(node, "leave", "not asked for", planned.parts, planned.slot)
        plans.append(planned)
    return plans


def why(planned: NodePlan, store: Store) -> list[str]:
    """Every fact in which a node differs from the nearest earlier fingerprint, the first one first."""
    name = planned.node.name
    if planned.made is not None:
        return [f"{name}: nothing differs: {planned.reason}", f"  {planned.made.out}"]
    if planned.verdict == "resume":
        return [f"{name}: nothing differs from the last attempt: {planned.reason}"]
    near = nearest(planned.parts, store.earlier(name))
    if near is None:
        return [f"{name}: never made in {store.root}"]
    if not near[1]:
        return [f"{name}: nothing differs from {near[0][:8]}: {planned.reason}"]
    earlier, changed = near
    begun = store.slot(name, earlier).state().get("started", time.time())
    lines = [f"{name}: {sentence(*changed[0])}"]
    lines += [f"  also {sentence(*change)}" for change in changed[1:]]
    return [*lines, f"  (against the nearest earlier fingerprint, {earlier[:8]}, begun {ago(begun)})"]
