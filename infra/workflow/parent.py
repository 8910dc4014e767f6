"""The run of a workflow, above the runs of its nodes: begun or gone on with, and ended with a picture of the graph."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.journal import About, JournalRun, new_id
from infra.lineage_view import box_of, write_view
from infra.locks import owned
from infra.manifest import digest
from infra.provenance import code_state
from infra.storage import ROOT
from infra.workflow.graph import Node
from infra.workflow.store import WORKFLOWS, Slot, Store
from infra.workflow.summary import NodeResult, described

STATES = {"FINISHED": "committed", "FAILED": "failed"}
"""How the run ended -> what the state of its slot says; all else was interrupted."""


@dataclass(frozen=True)
class Parent:
    """A workflow's own run."""

    workflow: str
    nodes: Mapping[str, Node]
    store: Store
    slot: Slot
    run: JournalRun

    def end(self, rows: Mapping[str, NodeResult], *, status: str, reason: str) -> None:
        """Say how every node fared, draw it, and close the run."""
        with contextlib.suppress(OSError):  # a full disk must not hide why it ended
            made = sum(row.made is not None for row in rows.values())
            self.run.artifact(self.view(rows, self.slot.out / "lineage.html"))
            self.run.metrics({"workflow/made": made, "workflow/nodes": len(self.nodes)}, step=0)
            self.run.tags({"mlflow.note.content": described(rows)})
            self.run.end(status, reason=reason)
            self.slot.set_state(status=STATES.get(status, "interrupted"))
        self.run.close()

    def view(self, rows: Mapping[str, NodeResult], path: Path) -> Path:
        """The page that draws this run."""
        slots = {
            name: found[0]
            for name, row in rows.items()
            if row.made and (found := self.store.made_by(row.made.run, at=Slot(row.made.out.parent)))
        }
        notes = {name: row.result for name, row in rows.items()}
        boxes = [
            box_of(name, node.kind, node.inputs, slots.get(name), notes.get(name, "not reached"))
            for name, node in self.nodes.items()
        ]
        return write_view(path, self.workflow, boxes, slots.values(), self.store)


def open_parent(
    workflow: str,
    nodes: Mapping[str, Node],
    *,
    store: Store,
    experiment: str,
    own: Callable[[contextlib.AbstractContextManager[bool]], bool],
) -> Parent:
    """The workflow's own run, held by `own`: the last one if it did not finish, was of the same nodes and nobody is at
    work on it, or else a new one. It never waits: whoever holds the last one may wait for a node that we hold.
    """
    what = digest({name: [str(node.path), node.manifest, dict(node.inputs)] for name, node in nodes.items()})
    slot = next(iter(store.workflow_runs(workflow)), None)
    last = slot.state() if slot is not None and own(owned(slot.folder / ".lock")) else {}
    if slot is not None and last.get("what") == what and last.get("status") != "committed":
        run_id = str(last["run"])
    else:
        run_id = new_id()
        slot = Slot(store.root / WORKFLOWS / workflow / run_id[:16])
        own(owned(slot.folder / ".lock"))
    number = int(slot.state().get("attempt", 0)) + 1
    slot.begin(node=workflow, kind="workflow", what=what, run=run_id, attempt=number)
    name = f"{workflow} {time.strftime('%Y-%m-%d %H:%M')}"
    run = JournalRun(slot.journal, About(run_id, name, experiment, "workflow"))
    run.start(attempt=number)
    about = {"kind": "workflow", "workflow": workflow, "store": str(store.root), "attempt": str(number)}
    run.tags({**about, **code_state(ROOT)})
    return Parent(workflow, nodes, store, slot, run)
