"""Which code ran: the commit, and whether the tree differed from it. Read on the driver: Ray ships no .git."""

import hashlib
import subprocess
from functools import cache
from pathlib import Path


@cache
def code_state(root: Path) -> dict[str, str]:
    """Tags `git_sha`, `git_dirty` and, where the tree differs, `git_diff` (a digest); `unknown` outside git."""
    commit = git(root, "rev-parse", "HEAD")
    if commit is None:
        return {"git_sha": "unknown", "git_dirty": "unknown"}
    diff = git(root, "diff", "HEAD", "--", "*.py", "*.yaml", "*.toml") or ""
    state = {"git_sha": commit.strip(), "git_dirty": "yes" if diff else "no"}
    return state | ({"git_diff": hashlib.sha256(diff.encode()).hexdigest()[:16]} if diff else {})


def git(root: Path, *words: str) -> str | None:
    """What git prints; None where there is no git, no repository, or no commit."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
