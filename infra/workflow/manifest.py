"""What a workflow manifest says: nodes, each a job of one kind, and which node's artifact another one takes."""

import re
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from infra.manifest import Manifest, did_you_mean

NAME = re.compile(r"[a-z][a-z0-9_]*")


class NodeManifest(Manifest):
    """One job: its kind, its manifest, and where its inputs come from."""

    kind: str
    """A key of infra.workflow.node.KINDS."""
    manifest: Path
    """Of that kind; relative to the checkout that this workflow lies in."""
    inputs: dict[str, str] = {}
    """Role -> the node whose artifact it is."""
    set: dict[str, Any] = {}
    """`key.path: value` put into the node's manifest, as `--set node.key.path=value` does."""


class WorkflowManifest(Manifest):
    """Corpora, stages and evaluations as a graph. Relative paths are relative to the checkout."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    store: Path = Path(".stipple/store")
    """A folder: jobs work in it. `stipple corpus publish` sends a corpus to an object store."""
    tracking: str | None = None
    """An MLflow tracking URI; None keeps an sqlite database beside the store."""
    cluster: Path = Path("manifests/clusters/laptop.yaml")
    nodes: dict[str, NodeManifest]

    @field_validator("store", mode="before")
    @classmethod
    def a_folder(cls, store: object) -> object:
        """A URL would become a folder of that name."""
        if "://" in str(store):
            raise ValueError(
                "a store is a folder, which jobs work in; `stipple corpus publish` sends a corpus to a URL"
            )
        return store

    @field_validator("nodes")
    @classmethod
    def named(cls, nodes: dict[str, NodeManifest]) -> dict[str, NodeManifest]:
        """Node names are folder names."""
        bad = [name for name in nodes if not NAME.fullmatch(name)]
        if bad:
            raise ValueError(
                f"{', '.join(map(repr, bad))}: a node's name is small letters, digits and _, a letter first"
            )
        if not nodes:
            raise ValueError("a workflow needs a node")
        return nodes

    @model_validator(mode="after")
    def connected(self) -> "WorkflowManifest":
        """Inputs name nodes, and no node waits for itself."""
        wrong = []
        for name, node in self.nodes.items():
            for role, source in node.inputs.items():
                if source not in self.nodes:
                    hint = did_you_mean(source, self.nodes)
                    wrong.append(f"nodes.{name}.inputs.{role}: no node {source!r}{hint}")
        if not wrong:
            circle = circle_in({name: sorted(node.inputs.values()) for name, node in self.nodes.items()})
            if circle:
                wrong.append(f"nodes wait for each other in a circle: {' <- '.join(circle)}")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def circle_in(needs: dict[str, list[str]]) -> list[str]:
    """A circle of names that need each other, first name repeated last; empty where there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in needs[name]:
            found = walk(other, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in needs if (found := walk(name, []))), [])
