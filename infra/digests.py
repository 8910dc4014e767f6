"""sha256 of what lies on a disk: of a file, of a tree, or of a glance at one."""

import hashlib
from pathlib import Path

from infra.storage import named


def file_digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with named(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(root: Path) -> str:
    """sha256 over the relative names and the contents of all files under `root` (or of the one file)."""
    if root.is_file():
        return file_digest(root)
    whole = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        whole.update(f"{path.relative_to(root).as_posix()}\0{file_digest(path)}\n".encode())
    return whole.hexdigest()


def glance(root: Path) -> str:
    """Digest of what lies at a path, by the names and sizes of its files and the first and the last MiB of each: tells
    other weights of the same shapes apart without reading all of them. `absent` where nothing is there."""
    if not root.exists():
        return "absent"
    whole = hashlib.sha256()
    for path in [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file()):
        size = path.stat().st_size
        whole.update(f"{path.relative_to(root).as_posix()}\0{size}\n".encode())
        with path.open("rb") as file:
            whole.update(file.read(2**20))
            file.seek(max(0, size - 2**20))
            whole.update(file.read(2**20))
    return whole.hexdigest()
