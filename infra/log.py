"""Progress for the person who watches: lines on stderr, a little color on terminals, and quiet libraries."""

import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import TextIO

COLORS = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}


def paint(text: str, color: str, *, stream: TextIO | None = None) -> str:
    """Color for a terminal that knows it (not TERM=dumb) where NO_COLOR is not set (no-color.org); else plain."""
    stream, told = stream or sys.stderr, os.environ  # noqa: TID251 - conventions of terminals
    if told.get("NO_COLOR") or told.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\033[{COLORS[color]}m{text}\033[0m"


def say(line: str) -> None:
    """One line of progress, whole, at once. No work ends because nobody can read it any more (a terminal that was
    closed, a pipe whose reader has gone), or because a signal is told of in the midst of a line that nobody reads yet.
    """
    with contextlib.suppress(OSError):
        try:
            print(line, file=sys.stderr, flush=True)
        except RuntimeError:  # a reentrant call: the line that the signal came into holds the buffer
            os.write(sys.stderr.fileno(), f"{line}\n".encode(errors="backslashreplace"))


def sayer(name: str, *, width: int = 0) -> Callable[[str], None]:
    """A `say` whose lines begin with the name of a node."""
    prefix = paint(f"{name:<{width}}", "dim")

    def tell(line: str) -> None:
        say(f"{prefix}  {line}")

    return tell


def hush(*loggers: str) -> None:
    """Let these libraries speak only of errors, and keep their deprecation notes from the person."""
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=rf"{name}(\..*)?")


def clock(seconds: float) -> str:
    """`7.3 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(number: int, what: str) -> str:
    """`1 item`, `2 items`."""
    return f"{number} {what}{'s' * (number != 1)}"


def ago(moment: float) -> str:
    """How long ago a time.time() was, in words."""
    return f"{clock(max(0.0, time.time() - moment))} ago"
