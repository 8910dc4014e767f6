"""Jobs that can save what they have and end when a signal comes: which are at work, and whether they were asked."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from infra.log import say
from infra.storage import write_atomic
from infra.workflow.graph import Node
from infra.workflow.node import STOP
from infra.workflow.store import Slot


@dataclass
class Halting:
    """What a signal finds (infra.workflow.signals): jobs to wait for, or none."""

    saving: dict[str, Slot] = field(default_factory=dict)
    """Jobs at work that can be asked, by their node."""
    asked: bool = False
    """Has a signal come, and have they been asked?"""

    @contextlib.contextmanager
    def at_work(self, node: Node, slot: Slot) -> Iterator[None]:
        """While it lasts, this job can be asked, where its kind looks for that (`HALTS`)."""
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
        """Raises: KeyboardInterrupt once all that were asked have ended."""
        if self.asked and not self.saving:
            raise KeyboardInterrupt
