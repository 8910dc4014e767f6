"""What a person sees while units are worked on: audio hours done, and when the rest will be."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from infra.log import clock, counted
from infra.waiting import Silence, beside
from pipelines.funnel import duration


class Progress:
    """Audio hours done, and when the rest will be: by bytes of the files, since nobody knows their duration yet."""

    EVERY_SECONDS = 5.0
    ENOUGH = 0.02
    """Share that must be done before what is left can be told from it."""

    def __init__(self, say: Callable[[str], None], units: Mapping[str, int]) -> None:
        """`units`: id -> bytes of its files."""
        self.say = say
        self.bytes = units
        self.total = sum(self.bytes.values()) or 1
        self.began = self.told = time.monotonic()
        self.seconds = 0.0
        self.done = self.units = self.failed = 0
        self.cpu_seconds: dict[str, float] = {}

    def add(self, status: Mapping[str, Any]) -> None:
        """A unit ended; now and then, say so."""
        self.units += 1
        self.done += self.bytes[status["unit"]]
        self.seconds += status["seconds"]
        self.failed += status["failed"]
        for name, seconds in status["cpu_seconds"].items():
            self.cpu_seconds[name] = self.cpu_seconds.get(name, 0.0) + seconds
        now = time.monotonic()
        last = self.units == len(self.bytes)
        if now - self.told >= self.EVERY_SECONDS or last:
            self.told = now
            spent = now - self.began
            known = self.done > self.ENOUGH * self.total and not last
            rest = f", {clock(spent * (self.total - self.done) / self.done)} to go" if known else ""
            heard = duration(self.seconds / 3600)
            speed = f"{self.seconds / max(spent, 1e-9):.0f} x real time"
            whole = f" of about {duration(self.seconds * self.total / self.done / 3600)}" if known else ""
            units = f"{self.units} of {len(self.bytes)} units"
            self.say(f"{heard}{whole} of audio in {clock(spent)} ({speed}), {units}{rest}{self.dearest()}")

    def dearest(self) -> str:
        """The three transforms that take most of the processors."""
        total = sum(self.cpu_seconds.values())
        ranked = sorted(self.cpu_seconds.items(), key=lambda item: -item[1])[:3]
        return "; " + ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in ranked) if total > 0 else ""


@contextmanager
def waiting_told(progress: Progress, *, room: Callable[[], int], after_seconds: float = 60.0) -> Iterator[None]:
    """While it lasts: where no unit ends for a while, say so, and for how many workers (`room`) the cluster has room;
    at once where it has for none. Nothing ends because of it: machines may be coming."""

    def watch(done: threading.Event) -> None:
        silence, units = Silence(after_seconds=after_seconds), 0
        if not room():
            progress.say("the cluster has room for no worker; waiting for a machine")
        while not done.wait(after_seconds / 10):
            if progress.units != units:
                units = progress.units
                silence.heard()
            elif quiet := silence.told():
                workers = room()
                there = f"for {counted(workers, 'worker')}" if workers else "for no worker: waiting for a machine"
                progress.say(f"no unit has ended for {quiet}; the cluster has room {there}")

    with beside(watch, name="waiting"):
        yield
