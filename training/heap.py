"""What a worker on a CPU does with memory that it has freed: keep it for the next step.

The C library gives large blocks back to the kernel, and every step asks for them again, page by page and cleared:
5 to 10 % of the processor time of a small step (tests/benchmarks/official.py, step2). Peak memory stays as it was.
"""

import ctypes

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt, of glibc's malloc.h."""
NEVER = 2**31 - 1
AT_ONCE = 2**28
"""Bytes that are asked for at least; those that nobody writes to take no memory."""


def keep_freed_memory() -> None:
    """For the rest of this process; nothing where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((MMAP_THRESHOLD, NEVER), (TRIM_THRESHOLD, NEVER), (TOP_PAD, AT_ONCE)):
            mallopt(parameter, value)
