"""Run a workflow: skip what is made, resume what broke, go on with the branches that can; stop in a resumable state.

Ctrl-C, SIGTERM, and SIGHUP when a terminal is closed, let the jobs of kinds that say `HALTS` save what they have, for
a while (infra.workflow.signals), before all ends.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.cluster import Cluster
from infra.journal import About, JournalRun, new_id
from infra.lineage_view import box_of, write_view
from infra.locks import owned
from infra.log import clock, paint, say, sayer
from infra.manifest import digest
from infra.provenance import code_state
from infra.shipping import Shipping
from infra.storage import ROOT, write_atomic
from infra.workflow.attempt import Around, attempt
from infra.workflow.fingerprint import changed_files, code_of, edited
from infra.workflow.graph import Node
from infra.workflow.node import STOP, Made, Refused
from infra.workflow.plan import NodePlan, node_plan
from infra.workflow.signals import stoppable
from infra.workflow.store import WORKFLOWS, Slot, Store


@dataclass
class NodeResult:
    """How one node fared: `made`, `skipped`, `failed`, `blocked` or `left`."""

    node: Node
    result: str
    note: str
    seconds: float = 0.0
    made: Made | None = None


@dataclass
class WorkflowRun:
    """One run of a workflow: its nodes, what became of them, and what all of them share."""

    workflow: str
    nodes: Mapping[str, Node]
    store: Store
    cluster: Cluster
    shipping: Shipping
    experiment: str = ""
    wanted: set[str] = field(default_factory=set)
    forced: set[str] = field(default_factory=set)
    top: bool = True
    """Is there a run of the workflow above the runs of its nodes?"""
    rows: dict[str, NodeResult] = field(default_factory=dict)
    saving: dict[str, Slot] = field(default_factory=dict)
    """Jobs at work that can be asked to save what they have and end."""
    asked: bool = False
    """Has Ctrl-C, SIGTERM or SIGHUP come, and have they been asked?"""
    code: dict[str, str] = field(default_factory=dict)
    """File -> digest, as it was when the run began: what this process has loaded is of then."""
    connect: Callable[[], None] | None = None
    """Starts or joins Ray; None: the cluster's own way."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    parent: JournalRun | None = None
    parent_slot: Slot | None = None
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def go(self, *, jobs: int = 1) -> dict[str, NodeResult]:
        """Every node in its turn, `jobs` at once where they do not need each other.

        Raises: KeyboardInterrupt when a person or a signal stops it; everything is then noted and resumable.
        """
        self.store.root.mkdir(parents=True, exist_ok=True)
        self.code = {file: value for node in self.nodes.values() for file, value in code_of(node.module.CODE).items()}
        status, reason = "FINISHED", ""
        with self.stack, stoppable(self.ask) as listen:
            try:
                self.store.reap(say)
                if jobs <= 1:
                    for name in self.nodes:
                        self.rows[name] = self.one(name)
                        self.stop_if_asked()
                else:
                    self.side_by_side(jobs, listen=listen)
                if any(row.result == "failed" for row in self.rows.values()):
                    status = "FAILED"
            except (KeyboardInterrupt, SystemExit):
                status, reason = "KILLED", "stopped by a person or a signal"
                raise KeyboardInterrupt from None
            finally:
                self.end(status, reason)
        return self.rows

    def one(self, name: str) -> NodeResult:
        """Skip a node, or make it; a failure is a row, and only those who need the node suffer from it."""
        tell = sayer(name, width=max(map(len, self.nodes)))
        found = self.decided(self.nodes[name], tell)
        return found if isinstance(found, NodeResult) else self.make(found, tell)

    def decided(self, node: Node, tell: Callable[[str], None]) -> NodeResult | NodePlan:
        """What a node comes to where there is nothing to do; otherwise the plan to make it by."""
        missing = sorted({source for source in node.inputs.values() if self.rows[source].made is None})
        asked = node.name in self.wanted
        if missing:
            note = f"needs {', '.join(missing)}"
            if not asked:
                return NodeResult(node, "left", note)
            tell(paint(f"blocked: {note}", "yellow"))
            return NodeResult(node, "blocked", note)
        made_by_node = {source: made for source in node.inputs.values() if (made := self.rows[source].made)}
        planned = node_plan(node, made_by_node, self.store, forced=node.name in self.forced)
        if planned.made is not None:
            tell(f"{paint('skip', 'green')}: {planned.reason}")
            return NodeResult(node, "skipped", planned.reason, made=planned.made)
        if not asked:
            return NodeResult(node, "left", "not asked for")
        if changed := edited(planned.parts, self.code):
            note = f"{changed_files(changed)} since this run began, which has loaded the old code"
            note = f"{note}: run the same command again"
            tell(paint(f"failed: {note}", "red"))
            return NodeResult(node, "failed", note)
        return planned

    def make(self, planned: NodePlan, tell: Callable[[str], None]) -> NodeResult:
        """Make a node, once nobody else is at work on it; what another run made meanwhile is taken."""
        node, slot = planned.node, planned.slot
        assert slot is not None
        inputs = {role: made for role, source in node.inputs.items() if (made := self.rows[source].made)}
        began, waited, verdict, reason = time.monotonic(), list[str](), planned.verdict, planned.reason

        def waiting(holder: str) -> None:
            waited.append(holder)
            tell(f"waiting: {holder} is at work on it")

        if node.name in self.forced and (old := slot.made()) is not None:
            with slot.lease(waiting=waiting):
                if (made := slot.made()) is not None and made.run == old.run:
                    self.store.set_aside(slot)  # its lock goes along
        with slot.lease(waiting=waiting):
            made = slot.made()
            if made is not None:
                tell(f"{paint('skip', 'green')}: made meanwhile by another run")
                return NodeResult(node, "skipped", "made meanwhile by another run", time.monotonic() - began, made)
            if waited and slot.state().get("attempt"):
                verdict, reason = "resume", f"{waited[0]} did not make it; goes on from its work folder"
            tell(f"{paint(verdict, 'bold')}: {reason}")
            try:
                with self.at_work(node, slot):
                    made = attempt(planned, inputs | dict(node.given), self.around(), tell)
            except Refused as error:
                tell(paint(f"failed: {error}", "red"))
                return NodeResult(node, "failed", str(error), time.monotonic() - began)
        return NodeResult(node, "made", reason, time.monotonic() - began, made)

    def side_by_side(self, jobs: int, *, listen: Callable[[], None]) -> None:
        """Threads for nodes whose inputs are decided; the main thread waits, so that a signal reaches it at once."""
        done: queue.Queue[tuple[str, NodeResult | BaseException] | None] = queue.Queue()
        waiting, busy = list(self.nodes), 0

        def connect() -> None:
            self.cluster.connect()
            done.put(None)  # Ray has put handlers of its own in place of ours, which only the main thread can mend

        self.connect = connect

        def work(name: str) -> None:
            try:
                done.put((name, self.one(name)))
            except BaseException as error:  # noqa: BLE001 - raised again in the main thread
                done.put((name, error))

        while waiting or busy:
            ready = [n for n in waiting if all(source in self.rows for source in self.nodes[n].inputs.values())]
            if self.asked:
                ready = []
            for name in ready[: jobs - busy]:
                waiting.remove(name)
                busy += 1
                threading.Thread(target=work, args=(name,), name=name, daemon=True).start()
            ended = done.get()
            if ended is None:
                listen()
                continue
            name, result = ended
            busy -= 1
            if isinstance(result, NodeResult):
                self.rows[name] = result
            elif not (self.asked and isinstance(result, KeyboardInterrupt)):
                raise result
            self.stop_if_asked()

    @contextlib.contextmanager
    def at_work(self, node: Node, slot: Slot) -> Iterator[None]:
        """While it lasts, Ctrl-C, SIGTERM and SIGHUP ask this job to save what it has, where its kind can do that."""
        if not getattr(node.module, "HALTS", False):
            yield
            return
        (slot.work / STOP).unlink(missing_ok=True)
        self.saving[node.name] = slot
        try:
            yield
        finally:
            del self.saving[node.name]

    def ask(self) -> bool:
        """Ask every job that can to save what it has and end; False where there is none, or it was asked already."""
        if self.asked or not self.saving:
            return False
        self.asked = True
        for name, slot in list(self.saving.items()):
            slot.work.mkdir(exist_ok=True)
            write_atomic(slot.work / STOP, "")
            say(f"told to stop: {name} ends its step and saves it; told again, it stops at once")
        return True

    def stop_if_asked(self) -> None:
        """Raises: KeyboardInterrupt once all that were asked to save have ended."""
        if self.asked and not self.saving:
            raise KeyboardInterrupt

    def around(self) -> Around:
        """What attempts share; the first one opens the workflow's own run and starts the shipper."""
        with self.lock:
            if self.top and self.parent is None:
                own = self.stack.enter_context
                self.parent_slot, self.parent = open_parent(self.store, self.workflow, self.nodes, self.experiment, own)
            self.shipping.start()
            parent = self.parent.id if self.parent else None
        return Around(self.workflow, self.experiment, parent, self.connect or self.cluster.connect)

    def end(self, status: str, reason: str) -> None:
        """Close the workflow's run, with its graph as an artifact."""
        if self.parent is None or self.parent_slot is None:
            return
        with contextlib.suppress(OSError):  # a full disk must not hide why it ended
            made = [row.made for row in self.rows.values() if row.made is not None]
            self.parent.artifact(self.view(self.parent_slot.out / "lineage.html"))
            self.parent.metrics({"workflow/made": len(made), "workflow/nodes": len(self.nodes)}, step=0)
            self.parent.tags({"mlflow.note.content": self.described()})
            self.parent.end(status, reason=reason)
            self.parent_slot.set_state(status={"FINISHED": "committed", "FAILED": "failed"}.get(status, "interrupted"))
        self.parent.close()

    def described(self) -> str:
        """How every node fared, as a table in Markdown: the description of the workflow's run."""
        lines = ["| node | result | version | time | |", "|---|---|---|---|---|"]
        for name, row in self.rows.items():
            version = f"@{row.made.digest[:8]}" if row.made else ""
            lines.append(f"| {name} | {row.result} | {version} | {clock(row.seconds)} | {row.note} |")
        return "\n".join(lines)

    def view(self, path: Path) -> Path:
        """The page that draws this run."""
        slots = {
            name: found[0]
            for name, row in self.rows.items()
            if row.made and (found := self.store.made_by(row.made.run, at=Slot(row.made.out.parent)))
        }
        notes = {name: row.result for name, row in self.rows.items()}
        boxes = [box_of(n, x.kind, x.inputs, slots.get(n), notes.get(n, "not reached")) for n, x in self.nodes.items()]
        return write_view(path, self.workflow, boxes, slots.values(), self.store)


def open_parent(
    store: Store,
    workflow: str,
    nodes: Mapping[str, Node],
    experiment: str,
    own: Callable[[contextlib.AbstractContextManager[bool]], bool],
) -> tuple[Slot, JournalRun]:
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
    slot.set_state(
        node=workflow, kind="workflow", what=what, run=run_id, attempt=number, status="running",
        started=time.time(), pid=os.getpid(), host=os.uname().nodename,
    )  # fmt: skip
    run = JournalRun(
        slot.journal, About(run_id, f"{workflow} {time.strftime('%Y-%m-%d %H:%M')}", experiment, "workflow")
    )
    run.start(attempt=number)
    run.tags(
        {"kind": "workflow", "workflow": workflow, "store": str(store.root), "attempt": str(number), **code_state(ROOT)}
    )
    return slot, run
