"""From a workflow manifest to nodes that can be run: modules found, manifests read, every mistake reported at once."""

import importlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

from infra.manifest import Manifest, ManifestError, did_you_mean, load
from infra.workflow.manifest import WorkflowManifest
from infra.workflow.node import KINDS, Kind, Made

WORKFLOW_KEYS = ("store", "tracking", "cluster")
"""What `--set` may change of the workflow itself; every other first word is a node."""


@dataclass(frozen=True)
class Node:
    """A job that can be run once its inputs are made."""

    name: str
    kind: str
    module: Kind
    manifest: Manifest
    path: Path
    """Where the manifest was read."""
    inputs: Mapping[str, str]
    """Role -> node."""
    given: Mapping[str, Made]
    """Role -> an artifact made elsewhere, handed in by path."""


def split_overrides(settings: Iterable[str], nodes: Iterable[str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """`--set` words -> overrides of the workflow, and of each node.

    Raises: ManifestError, with every mistake.
    """
    names = list(nodes)
    workflow: dict[str, str] = {}
    of_node: dict[str, dict[str, str]] = {name: {} for name in names}
    wrong = []
    for setting in settings:
        key, equals, value = setting.partition("=")
        first, _, rest = key.partition(".")
        if not equals or not key:
            wrong.append(f"--set {setting}: write node.key=value")
        elif key in WORKFLOW_KEYS:
            workflow[key] = value
        elif first not in names:
            wrong.append(
                f"--set {setting}: no node {first!r}{did_you_mean(first, names)}; there are: {', '.join(names)}"
            )
        elif not rest:
            wrong.append(f"--set {setting}: {first!r} is a node; write {first}.key=value")
        else:
            of_node[first][rest] = value
    if wrong:
        raise ManifestError("command line", wrong)
    return workflow, of_node


def build(
    workflow: WorkflowManifest,
    *,
    root: Path,
    overrides: Mapping[str, Mapping[str, str]] | None = None,
    given: Mapping[str, Mapping[str, Made]] | None = None,
    kinds: Mapping[str, str] = KINDS,
) -> dict[str, Node]:
    """Nodes by name, each after those it needs. `given`: node -> role -> artifact from outside the workflow.

    Raises: ManifestError, with every mistake of every manifest.
    """
    nodes: dict[str, Node] = {}
    wrong: list[str] = []
    for name in in_order(workflow):
        written = workflow.nodes[name]
        settings = {key: as_yaml(value) for key, value in written.set.items()} | dict((overrides or {}).get(name, {}))
        try:
            module = module_of(written.kind, kinds)
        except ManifestError as error:
            wrong += [f"nodes.{name}.{mistake}" for mistake in error.problems]
            continue
        outside = (given or {}).get(name, {})
        wrong += [
            f"nodes.{name}.{mistake}"
            for mistake in roles_wrong(written.kind, module, roles=[*written.inputs, *outside])
        ]
        path = root / written.manifest
        try:
            manifest = load(module.MANIFEST, path, settings)
        except ManifestError as error:
            wrong += [f"nodes.{name}.manifest: {written.manifest}: {mistake}" for mistake in error.problems]
            continue
        nodes[name] = Node(name, written.kind, module, manifest, path, written.inputs, outside)
    for name, node in nodes.items():
        if all(source in nodes for source in node.inputs.values()):
            wrong += [f"nodes.{name}: {mistake}" for mistake in misfits_of(node, nodes)]
    if wrong:
        raise ManifestError(f"workflow {workflow.name}", wrong)
    return nodes


def node_alone(
    name: str,
    kind: str,
    path: Path,
    *,
    given: Mapping[str, Made],
    overrides: Mapping[str, str],
    kinds: Mapping[str, str] = KINDS,
) -> Node:
    """A node that no workflow names: all its inputs are given.

    Raises: ManifestError, with every mistake, in the words of its own manifest.
    """
    module = module_of(kind, kinds)
    wrong = roles_wrong(kind, module, roles=given)
    try:
        node = Node(name, kind, module, load(module.MANIFEST, path, overrides), path, {}, given)
    except ManifestError as error:
        raise ManifestError(error.where, [*wrong, *error.problems]) from None
    if wrong := [*wrong, *misfits_of(node, {})]:
        raise ManifestError(str(path), wrong)
    return node


def module_of(kind: str, kinds: Mapping[str, str]) -> Kind:
    """The module that does a kind of node.

    Raises: ManifestError.
    """
    if kind not in kinds:
        known = f"{did_you_mean(kind, kinds)}; there are: {', '.join(kinds)}"
        raise ManifestError("kind", [f"kind: no kind {kind!r}{known}"])
    return cast(Kind, importlib.import_module(kinds[kind]))


def misfits_of(node: Node, nodes: Mapping[str, Node]) -> list[str]:
    """What of a node's inputs contradicts its manifest; `nodes` has all that it takes anything from."""
    fits = getattr(node.module, "misfits", None)
    if fits is None:
        return []
    made_by = {role: nodes[source].manifest for role, source in node.inputs.items()}
    found: list[str] = fits(node.manifest, made_by | dict.fromkeys(node.given))
    return found


def as_yaml(value: Any) -> str:
    """A value from YAML, as text that reads as the same value."""
    return json.dumps(value, ensure_ascii=False)


def roles_wrong(kind: str, module: Kind, *, roles: Collection[str]) -> list[str]:
    """What is wrong with the roles of the inputs that a node has."""
    taken = module.ROLES
    known = ", ".join(taken) or "none"
    wrong = [
        f"inputs.{role}: a {kind} takes no {role!r}{did_you_mean(role, taken)}; its inputs are: {known}"
        for role in roles
        if not any(fnmatchcase(role, pattern) for pattern in taken)
    ]
    missing = [role for role, required in taken.items() if required and role not in roles]
    return wrong + [f"inputs.{role}: a {kind} needs it" for role in missing]


def in_order(workflow: WorkflowManifest) -> list[str]:
    """Node names, each after those it needs, otherwise as written."""
    placed: list[str] = []

    def place(name: str) -> None:
        if name not in placed:
            for source in workflow.nodes[name].inputs.values():
                place(source)
            placed.append(name)

    for name in workflow.nodes:
        place(name)
    return placed


def needed_by(nodes: Mapping[str, Node], name: str) -> set[str]:
    """`name` and every node before it."""
    found = {name}
    for source in nodes[name].inputs.values():
        found |= needed_by(nodes, source)
    return found


def after(nodes: Mapping[str, Node], name: str) -> set[str]:
    """`name` and every node that needs it, directly or not."""
    return {other for other in nodes if name in needed_by(nodes, other)}
