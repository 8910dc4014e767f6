"""What a person sees of work that takes long and has no steps to count."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infra.log import clock, say

EVERY_SECONDS = 10.0


@contextmanager
def told_while(what: str, *, every_seconds: float = EVERY_SECONDS) -> Iterator[None]:
    """Say at once what is done, and every few seconds that it still is."""
    say(what)
    begun = time.monotonic()

    def remind(done: threading.Event) -> None:
        while not done.wait(every_seconds):
            say(f"{what}: {clock(time.monotonic() - begun)} so far")

    with beside(remind, name="reminder"):
        yield


@contextmanager
def beside(watch: Callable[[threading.Event], None], *, name: str) -> Iterator[None]:
    """Let a thread watch what is done in the block; `watch` is given the event that ends it, and is waited for."""
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(done,), daemon=True, name=name)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


class Silence:
    """How long nothing has come of work that tells of itself; to be told after a minute, then after twice as long."""

    def __init__(self, *, after_seconds: float = 60.0) -> None:
        self.after_seconds = after_seconds
        self.heard()

    def heard(self) -> None:
        """Something has come."""
        self.since, self.due = time.monotonic(), self.after_seconds

    def told(self) -> str:
        """For how long nothing has come, where that is to be told now; else empty."""
        quiet = time.monotonic() - self.since
        if quiet < self.due:
            return ""
        self.due *= 2
        return clock(quiet)


class SpeechProgress:
    """How much has been spoken, told every few seconds; `cancelled` is what a request asks before each patch."""

    def __init__(self, patches_per_second: float, *, every_seconds: float = EVERY_SECONDS) -> None:
        self.patches_per_second, self.every_seconds = patches_per_second, every_seconds
        self.patches, self.begun = 0, time.monotonic()
        self.told = self.begun

    def cancelled(self) -> bool:
        """Never; one more patch is about to be made."""
        now = time.monotonic()
        if now - self.told >= self.every_seconds:
            self.told = now
            say(f"{self.patches / self.patches_per_second:.1f} s of speech after {clock(now - self.begun)}")
        self.patches += 1
        return False
