"""Signals that stop a run of a workflow: at once, or after its jobs had a while to save what they have."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

GRACE_SECONDS = 25.0
"""From the signal until all ends as it is: Kubernetes and most schedulers give 30."""


@contextlib.contextmanager
def stoppable(ask: Callable[[], bool]) -> Iterator[Callable[[], None]]:
    """Ctrl-C, SIGTERM and SIGHUP stop; where `ask` finds jobs to wait for, at the end of their grace or at a second
    one. SIGHUP stays ignored where it is (nohup). Yields what puts the handlers in place again.
    """
    main = threading.main_thread()
    if threading.current_thread() is not main:
        yield lambda: None
        return
    assert main.ident is not None
    timer = threading.Timer(GRACE_SECONDS, signal.pthread_kill, [main.ident, signal.SIGTERM])
    timer.daemon = True

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.alarm(0)  # Ray's own handler, where it came first, has asked to be killed in 3 s
        if ask():
            timer.start()
            return
        raise KeyboardInterrupt

    def listen() -> None:
        for number in old:
            signal.signal(number, stop)

    old = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    if old[signal.SIGHUP] == signal.SIG_IGN:
        del old[signal.SIGHUP]
    listen()
    try:
        yield listen
    finally:
        timer.cancel()
        for number, handler in old.items():
            signal.signal(number, handler)
