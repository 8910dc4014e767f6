"""Run a workflow: skip what is made, resume what broke, go on with the branches that can; stop in a resumable state.

Ctrl-C, SIGTERM, and SIGHUP when a terminal is closed, let the jobs of kinds that say `HALTS` save what they have, for
a while (infra.workflow.signals), before all ends.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from infra.cluster import Cluster
from infra.log import paint, sayer
from infra.log import say as tell_all
from infra.shipping import Shipping
from infra.workflow.attempt import Around, attempt
from infra.workflow.fingerprint import changed_files, code_of, edited
from infra.workflow.graph import Node
from infra.workflow.halting import Halting
from infra.workflow.node import Made, Refused
from infra.workflow.parent import Parent, open_parent
from infra.workflow.plan import NodePlan, node_plan
from infra.workflow.signals import stoppable
from infra.workflow.store import Slot, Store
from infra.workflow.summary import NodeResult

Say = Callable[[str], None]


@dataclass(kw_only=True)
class WorkflowRun:
    """One run of a workflow: its nodes, what became of them, and what all of them share."""

    workflow: str
    nodes: Mapping[str, Node]
    """By name, each after those it needs."""
    store: Store
    cluster: Cluster
    shipping: Shipping
    experiment: str
    wanted: set[str]
    """Nodes that are to be made; of the others, what is made is used."""
    forced: set[str] = field(default_factory=set)
    """Nodes that are made again, though they are made."""
    top: bool = True
    """Is there a run of the workflow above the runs of its nodes?"""

    rows: dict[str, NodeResult] = field(init=False, default_factory=dict)
    halting: Halting = field(init=False, default_factory=Halting)
    code: dict[str, str] = field(init=False, default_factory=dict)
    """File -> digest, as it was when the run began: what this process has loaded is of then."""
    connect: Callable[[], None] = field(init=False)
    """Starts or joins Ray."""
    parent: Parent | None = field(init=False, default=None)
    """Opened by the first attempt: a run that makes nothing leaves nothing."""
    lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    """Held while the parent is opened."""
    held: contextlib.ExitStack = field(init=False, default_factory=contextlib.ExitStack)
    """The parent's lock, until the run ends."""

    def go(self, *, jobs: int = 1) -> dict[str, NodeResult]:
        """Every node in its turn, `jobs` at once where they do not need each other.

        Raises: KeyboardInterrupt when a person or a signal stops it; everything is then noted and resumable.
        """
        self.store.root.mkdir(parents=True, exist_ok=True)
        self.code = {file: value for node in self.nodes.values() for file, value in code_of(node.module.CODE).items()}
        self.connect = self.cluster.connect
        status, reason = "FINISHED", ""
        with self.held, stoppable(self.halting.ask) as listen:
            try:
                self.store.reap(tell_all)
                if jobs <= 1:
                    self.one_by_one()
                else:
                    self.side_by_side(jobs, listen=listen)
                if any(row.result == "failed" for row in self.rows.values()):
                    status = "FAILED"
            except (KeyboardInterrupt, SystemExit):
                status, reason = "KILLED", "stopped by a person or a signal"
                raise KeyboardInterrupt from None
            finally:
                if self.parent is not None:
                    self.parent.end(self.rows, status=status, reason=reason)
        return self.rows

    def one_by_one(self) -> None:
        """The nodes, in this thread."""
        for name in self.nodes:
            self.rows[name] = self.one(name)
            self.halting.stop_if_asked()

    def side_by_side(self, jobs: int, *, listen: Callable[[], None]) -> None:
        """Threads for nodes whose inputs are decided; the main thread waits, so that a signal reaches it at once."""
        done: queue.Queue[tuple[str, NodeResult | BaseException] | None] = queue.Queue()
        waiting, busy = list(self.nodes), 0

        def connect() -> None:
            self.cluster.connect()
            done.put(None)  # Ray has put handlers of its own in place of ours, which only the main thread can mend

        def work(name: str) -> None:
            try:
                done.put((name, self.one(name)))
            except BaseException as error:  # noqa: BLE001 - raised again in the main thread
                done.put((name, error))

        self.connect = connect
        while waiting or busy:
            ready = [n for n in waiting if all(source in self.rows for source in self.nodes[n].inputs.values())]
            if self.halting.asked:
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
            elif not (self.halting.asked and isinstance(result, KeyboardInterrupt)):
                raise result
            self.halting.stop_if_asked()

    def one(self, name: str) -> NodeResult:
        """Skip a node, or make it; a failure is a row, and only those who need the node suffer from it."""
        say = sayer(name, width=max(map(len, self.nodes)))
        found = self.decided(self.nodes[name], say)
        return found if isinstance(found, NodeResult) else self.make(found, say)

    def decided(self, node: Node, say: Say) -> NodeResult | NodePlan:
        """What a node comes to where there is nothing to do; otherwise the plan to make it by."""
        asked = node.name in self.wanted
        if missing := sorted({source for source in node.inputs.values() if self.rows[source].made is None}):
            note = f"needs {', '.join(missing)}"
            if not asked:
                return NodeResult(node, "left", note)
            say(paint(f"blocked: {note}", "yellow"))
            return NodeResult(node, "blocked", note)
        made_by_node = {source: made for source in node.inputs.values() if (made := self.rows[source].made)}
        planned = node_plan(node, made_by_node, self.store, forced=node.name in self.forced)
        if planned.made is not None:
            say(f"{paint('skip', 'green')}: {planned.reason}")
            return NodeResult(node, "skipped", planned.reason, made=planned.made)
        if not asked:
            return NodeResult(node, "left", "not asked for")
        if changed := edited(planned.parts, self.code):
            old = f"{changed_files(changed)} since this run began, which has loaded the old code"
            return failed(node, f"{old}: run the same command again", say)
        return planned

    def make(self, planned: NodePlan, say: Say) -> NodeResult:
        """Make a node, once nobody else is at work on it; what another run made meanwhile is taken."""
        node, slot = planned.node, planned.slot
        assert slot is not None
        inputs = {role: made for role, source in node.inputs.items() if (made := self.rows[source].made)}
        began, waited, verdict, reason = time.monotonic(), list[str](), planned.verdict, planned.reason

        def waiting(holder: str) -> None:
            waited.append(holder)
            say(f"waiting: {holder} is at work on it")

        if node.name in self.forced and (old := slot.made()) is not None:
            self.set_aside(slot, old, waiting=waiting)
        with slot.lease(waiting=waiting):
            made = slot.made()
            if made is not None:
                say(f"{paint('skip', 'green')}: made meanwhile by another run")
                return NodeResult(node, "skipped", "made meanwhile by another run", time.monotonic() - began, made)
            if waited and slot.state().get("attempt"):
                verdict, reason = "resume", f"{waited[0]} did not make it; goes on from its work folder"
            say(f"{paint(verdict, 'bold')}: {reason}")
            try:
                with self.halting.at_work(node, slot):
                    made = attempt(planned, inputs | dict(node.given), self.around(), say)
            except Refused as error:
                return failed(node, str(error), say, seconds=time.monotonic() - began)
        return NodeResult(node, "made", reason, time.monotonic() - began, made)

    def set_aside(self, slot: Slot, old: Made, *, waiting: Say) -> None:
        """Keep what is made under another name, unless another run has done so, and made it anew, meanwhile."""
        with slot.lease(waiting=waiting):
            if (made := slot.made()) is not None and made.run == old.run:
                self.store.set_aside(slot)  # its lock goes along

    def around(self) -> Around:
        """What attempts share; the first one opens the workflow's own run and starts the shipper."""
        with self.lock:
            if self.top and self.parent is None:
                self.parent = open_parent(
                    self.workflow,
                    self.nodes,
                    store=self.store,
                    experiment=self.experiment,
                    own=self.held.enter_context,
                )
            self.shipping.start()
        parent = None if self.parent is None else self.parent.run.id
        return Around(self.workflow, self.experiment, parent, self.connect)


def failed(node: Node, why: str, say: Say, *, seconds: float = 0.0) -> NodeResult:
    """The row of a node that cannot be made, and the sentence for the person."""
    say(paint(f"failed: {why}", "red"))
    return NodeResult(node, "failed", why, seconds)
