"""Names that come from others (tables, archives, catalogs): none leads out of its root, none is a command or a URL."""

import hashlib
import re
import unicodedata
from pathlib import Path, PurePosixPath

PROTOCOL = re.compile(
    r"(pipe|concat|concatf|data|file|https?|ftps?|sftp|s3|gs|hdfs|rtmps?|rtsp|tcp|udp|tls|subfile|crypto|cache|async"
    r"|fd|unix|srt|ipfs|gopher|lavfi):|[a-z][a-z0-9+.-]*://",
    re.IGNORECASE,
)
LONGEST_NAME = 512
"""Characters of a name that are shown; the rest is told by a hash."""
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that turn the direction of writing: a name with them can look like another one."""


class Outside(ValueError):  # noqa: N818 - reads as what the path is
    """A name that must not be followed. The message is the reason."""


def inside(root: Path, name: str) -> Path:
    """The path that `name` stands for under `root` (a resolved folder); nothing needs to be there.

    Raises: Outside for URLs and pipes, `..`, absolute paths that lead elsewhere, and links that leave the root.
    """
    if PROTOCOL.match(name) or name.strip().startswith("|") or name.strip().endswith("|"):
        raise Outside(f"it is a URL or a command, not a file: {printable(name)[:80]}")
    if "\0" in name:
        raise Outside("there is a NUL in its name")
    if (size := len(name.encode("utf-8", "surrogatepass"))) > 4096:
        raise Outside(f"its name has {size} bytes, more than a path can have")
    if ".." in PurePosixPath(name).parts:
        raise Outside(f"it leads out of its folder: {printable(name)[:80]}")
    try:
        path = root / name
        real = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise Outside(f"its path cannot be followed ({error.__class__.__name__})") from None
    if not real.is_relative_to(root):
        raise Outside(f"it leads out of its folder: {printable(name)[:80]}")
    return path


def printable(name: str) -> str:
    """The name as it can be shown and written anywhere: no control characters, no half characters, not too long."""
    shown = name if name.isprintable() else "".join(escaped(char) for char in name)
    if len(shown) <= LONGEST_NAME:
        return shown
    tail = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{shown[: LONGEST_NAME - 17]}~{tail}"


def escaped(char: str) -> str:
    """The character; as `\\u202e` where it is no sign of its own."""
    if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in BIDI:
        return char.encode("unicode_escape").decode()
    return char
