"""What was begun on a unit, and how earlier attempts ended: read after a worker died, to find what kills.

A mark is written before each piece of work and after it; a worker that dies leaves the innermost one open. A crash of
native code (a segmentation fault in a decoder, say) also leaves its traceback, by faulthandler, and counts double: a
worker that was killed from outside (a lost node, a full memory) has done nothing wrong at the first time.
"""

import contextlib
import faulthandler
import io
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from infra.storage import named

ATTEMPTS = "attempts"
"""Folder of the attempts of the running job; those of an earlier one say nothing, since a person may have ended it."""

CRASH = "Fatal Python error"
"""How the traceback of a crash begins."""
CRASH_STRIKES = 2
ISOLATE = 2
"""Strikes against a batch from which its clips are tried one by one: one crash, or two kills."""
GIVE_UP_CLIP = 2
"""Strikes against a clip that was tried alone, from which it is given up."""
GIVE_UP_RECORDING = 4
"""Strikes against the decoding of a recording: two crashes, or four kills."""


class Attempts:
    """The marks of one unit, written by one worker at a time."""

    def __init__(self, work: Path, *, unit: str, chain: str) -> None:
        self.path = work / ATTEMPTS / f"{unit}.{chain}"
        self.strikes = strikes(self.path.read_text(encoding="utf-8", errors="replace") if self.path.is_file() else "")
        """Mark -> how often, and how badly, a worker died while it was the innermost open one."""

    def __enter__(self) -> "Attempts":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = io.FileIO(self.path, "a")
        self.note("\ntry\n")
        self.enabled = faulthandler.is_enabled()
        faulthandler.enable(file=self.file, all_threads=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        faulthandler.disable()
        if self.enabled and sys.__stderr__ is not None:
            with contextlib.suppress(ValueError, OSError):
                faulthandler.enable(file=sys.__stderr__)
        if kind is not None:
            with contextlib.suppress(OSError):  # of a full disk: what stopped it is what has to be told
                self.note("stopped\n")
        self.file.close()
        if kind is None:
            self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def mark(self, name: str) -> Iterator[None]:
        """Say what is being done, for as long as it is; the system keeps what is written when this process dies."""
        self.note(f"begin {name}\n")
        yield
        self.note(f"end {name}\n")

    def note(self, text: str) -> None:
        """At once."""
        with named(self.path):
            self.file.write(text.encode())


def strikes(text: str) -> Counter[str]:
    """What each mark has against it, from the marks of all attempts."""
    found: Counter[str] = Counter()
    for attempt in text.split("\ntry\n")[1:]:
        lines = attempt.splitlines()
        if "stopped" in lines:
            continue
        open_marks = [line.removeprefix("begin ") for line in lines if line.startswith("begin ")]
        ended = Counter(line.removeprefix("end ") for line in lines if line.startswith("end "))
        left = [name for name in open_marks if ended[name] < open_marks.count(name)]
        if left:
            found[left[-1]] += CRASH_STRIKES if CRASH in attempt else 1
    return found
