"""From a workflow manifest to nodes that can be run: modules found, manifests read, every mistake reported at once."""

import importlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

from infra.manifest import Manifest, ManifestError, did_you_mean, load
from infra.workflow.manifest import NodeManifest, WorkflowManifest
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
        node = workflow.nodes[name]
        if node.kind not in kinds:
            hint = did_you_mean(node.kind, kinds)
            wrong.append(f"nodes.{name}.kind: no kind {node.kind!r}{hint}; there are: {', '.join(kinds)}")
            continue
        module = cast(Kind, importlib.import_module(kinds[node.kind]))
        outside = dict((given or {}).get(name, {}))
        wrong += [f"nodes.{name}.{mistake}" for mistake in roles_wrong(node, module, outside)]
        path = root / node.manifest
        settings = {key: as_yaml(value) for key, value in node.set.items()} | dict((overrides or {}).get(name, {}))
        try:
            manifest = load(module.MANIFEST, path, settings)
        except ManifestError as error:
            wrong += [f"nodes.{name}.manifest: {node.manifest}: {problem}" for problem in error.problems]
            continue
        nodes[name] = Node(name, node.kind, module, manifest, path, node.inputs, outside)
    for name, made in nodes.items():
        fits = getattr(made.module, "misfits", None)
        if fits is not None and all(source in nodes for source in made.inputs.values()):
            told = {role: nodes[source].manifest for role, source in made.inputs.items()} | dict.fromkeys(made.given)
            wrong += [f"nodes.{name}: {mistake}" for mistake in fits(made.manifest, told)]
    if wrong:
        raise ManifestError(f"workflow {workflow.name}", wrong)
    return nodes


def as_yaml(value: Any) -> str:
    """A value from YAML, as text that reads as the same value."""
    return json.dumps(value, ensure_ascii=False)


def roles_wrong(node: NodeManifest, module: Kind, given: Mapping[str, Made]) -> list[str]:
    """What is wrong with the roles of a node's inputs."""
    roles = module.ROLES
    known = ", ".join(roles) or "none"
    wrong = [
        f"inputs.{role}: a {node.kind} takes no {role!r}{did_you_mean(role, roles)}; its inputs are: {known}"
        for role in (*node.inputs, *given)
        if not any(fnmatchcase(role, pattern) for pattern in roles)
    ]
    missing = [role for role, required in roles.items() if required and role not in node.inputs and role not in given]
    return wrong + [f"inputs.{role}: a {node.kind} needs it" for role in missing]


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
