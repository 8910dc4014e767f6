"""Memory that was freed is used again, without asking the kernel for it."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from training.heap import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
size = 2**26
for turn in range(11):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * size
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 2**26 // 4096
"""Of one of the blocks."""


def faults(how: str) -> int:
    """Pages that a process was given for ten blocks, after it had freed one as large."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(ended.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc alone is told so")
def test_freed_blocks_are_used_again() -> None:
    assert faults("keep") < PAGES // 2
    assert faults("give back") > 5 * PAGES
