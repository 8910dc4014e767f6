"""Processes that tests start: none outlives its test, and a slow machine is waited for."""

import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

PATIENCE_SECONDS = 300
"""What a test waits for at most. Nothing takes a tenth of it here: it ends what hangs, and says nothing about speed."""


def until(true: Callable[[], Any], *, what: str, process: "subprocess.Popen[Any] | None" = None) -> None:
    """Wait until it is `true`; fails where the process that it depends on has ended before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert process is None or process.poll() is None or true(), f"it ended ({process.returncode}) before {what}"
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS} s in vain for {what}"
        time.sleep(0.05)


def exit_code(child: BaseProcess) -> int | None:
    """How a started child ended; one that does not end is killed."""
    try:
        child.join(PATIENCE_SECONDS)
        assert child.exitcode is not None, f"{child.name} did not end within {PATIENCE_SECONDS} s"
        return child.exitcode
    finally:
        if child.is_alive():
            child.kill()
            child.join()


@contextmanager
def limited(what: int, most: int) -> Iterator[None]:
    """This process may have no more of it; a file that would grow beyond is an OSError."""
    before = resource.getrlimit(what)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(what, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)
        signal.signal(signal.SIGXFSZ, handler)


@contextmanager
def starting() -> Iterator[Callable[..., "subprocess.Popen[Any]"]]:
    """Starts processes as `subprocess.Popen` does; however the block ends, what is left of them is killed."""
    started: list[subprocess.Popen[Any]] = []

    def start(words: list[str], **more: Any) -> "subprocess.Popen[Any]":
        started.append(subprocess.Popen(words, **more))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            end(process)


def end(process: "subprocess.Popen[Any]") -> None:
    """Kill it, if it still runs, with all that it started; close the pipes to it."""
    if process.poll() is None:
        family = [psutil.Process(process.pid)]
        with suppress(psutil.NoSuchProcess):
            family += family[0].children(recursive=True)
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
