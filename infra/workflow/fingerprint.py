"""What decides the bytes of an artifact, as one flat table of facts, and its sha256: the node's fingerprint."""

import ast
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from infra.manifest import canonical, digest
from infra.storage import ROOT
from infra.workflow.graph import Node

VERSIONS = {
    "train": ("torch", "deepspeed"),
    "eval": (
        "torch", "transformers", "soxr", "librosa", "pystoi", "jiwer", "opencc", "speechmos", "resemblyzer",
        "moonshine-voice", "openai-whisper", "faster-whisper", "funasr",
    ),
}  # fmt: skip
"""Kind -> libraries whose minor version changes its numbers: of an evaluation, also those that bring the weights of its
judges. A corpus names its models in its own identity."""

DECIDES_NOTHING = frozenset({"cli.py", "compare.py", "verbs"})
"""Files and folders that no artifact depends on (commands), left out where a whole folder is named."""

NOT_MADE = "(not made yet)"
QUOTE = '"'

Parts = Mapping[str, str]
Change = tuple[str, str, str]
"""A fact, what it was, what it is."""


def parts_of(node: Node, inputs: Mapping[str, str]) -> Parts:
    """Fact -> value: `identity.*`, `inputs.<role>` (digests), `code.<file>`, `versions.<library>`."""
    identity = flat(node.module.identity(node.manifest), "identity")
    roles = {f"inputs.{role}": value for role, value in sorted(inputs.items())}
    code = {f"code.{name}": value for name, value in code_of(node.module.CODE).items()}
    versions = {f"versions.{name}": minor(name) for name in VERSIONS.get(node.kind, ())}
    return {"kind": node.kind, **identity, **roles, **code, **versions}


def fingerprint_of(parts: Parts) -> str:
    """sha256 of the facts, in hex."""
    return digest(dict(parts))


def flat(value: Any, path: str) -> dict[str, str]:
    """Nested tables and lists as `path.key.0.key -> canonical text`."""
    if isinstance(value, Mapping) and value:
        pairs = [(str(key), item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))]
    elif isinstance(value, list | tuple) and value and any(isinstance(item, Mapping | list | tuple) for item in value):
        pairs = [(str(number), item) for number, item in enumerate(value)]
    else:
        return {path: canonical(value)}
    found: dict[str, str] = {}
    for key, item in pairs:
        found |= flat(item, f"{path}.{key}")
    return found


def code_of(places: Iterable[str]) -> dict[str, str]:
    """File -> digest of its code, for files and folders named from the root."""
    files: dict[str, str] = {}
    for place in places:
        path = ROOT / place
        if not path.exists():
            raise FileNotFoundError(f"CODE names {place!r}, which is not in the checkout")
        inside = sorted(file for file in path.rglob("*.py") if not DECIDES_NOTHING & {*file.relative_to(path).parts})
        for file in [path] if path.is_file() else inside:
            name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.as_posix()
            files[name] = code_digest(file, file.stat().st_mtime_ns)
    return dict(sorted(files.items()))


def edited(parts: Parts, code: Mapping[str, str]) -> list[str]:
    """Files whose code is not, in `parts`, what it is in `code`, which has at least those of `parts`."""
    known = {fact.removeprefix("code."): value for fact, value in parts.items() if fact.startswith("code.")}
    return sorted(file for file, value in known.items() if code.get(file) != value)


def changed_files(files: Sequence[str]) -> str:
    """`a.py has changed`, or of several the first and how many more."""
    if len(files) == 1:
        return f"{files[0]} has changed"
    return f"{files[0]} and {len(files) - 1} more file{'s' * (len(files) > 2)} have changed"


@cache
def code_digest(file: Path, _changed_ns: int) -> str:
    """Digest of what a Python file does: comments, docstrings and layout do not count."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for part in ast.walk(tree):
        if isinstance(part, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            part.body = [line for line in part.body if not is_text(line)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def is_text(line: ast.stmt) -> bool:
    """A string that stands alone: documentation."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def minor(library: str) -> str:
    """`2.11` of `2.11.0+cpu`; `absent` where it is not installed."""
    try:
        return ".".join(metadata.version(library).split(".")[:2])
    except metadata.PackageNotFoundError:
        return "absent"


def differences(old: Parts, new: Parts) -> list[Change]:
    """Facts that differ, as (fact, old, new): those of the manifest first, then inputs, code and versions."""
    order = list(new) + [fact for fact in old if fact not in new]
    return [
        (fact, old.get(fact, "(none)"), new.get(fact, "(none)")) for fact in order if old.get(fact) != new.get(fact)
    ]


def nearest(new: Parts, earlier: Iterable[tuple[str, Parts]]) -> tuple[str, list[Change]] | None:
    """The earlier (fingerprint, facts) that differs least, newest first among equals, with its differences."""
    found = [(hexes, differences(parts, new)) for hexes, parts in earlier]
    return min(found, key=lambda pair: len(pair[1])) if found else None


def sentence(fact: str, old: str, new: str) -> str:
    """A difference, as a person reads it."""
    kind, _, rest = fact.partition(".")
    if kind == "code":
        return f"code changed: {rest}" if "(none)" not in (old, new) else f"code file {rest}: {old} -> {new}"
    if kind == "inputs":
        return f"input {rest} changed: {old[:12]} -> {new[:12] if new != NOT_MADE else new}"
    if kind == "versions":
        return f"{rest} changed: {old} -> {new}"
    return f"{rest or fact}: {old} -> {new}"


def sentences(changes: Sequence[Change]) -> list[str]:
    """Differences as a person reads them; of several files with other code, how many."""
    code = [fact.removeprefix("code.") for fact, _, _ in changes if fact.startswith("code.")]
    if len(code) < 2:
        return [sentence(*change) for change in changes]
    others = [sentence(*change) for change in changes if not change[0].startswith("code.")]
    return [*others, f"code changed: {code[0]} and {len(code) - 1} more file{'s' * (len(code) > 2)}"]


def name_apart(name: str, changes: Sequence[Change], *, most: int = 3) -> str:
    """A name for one of many runs of a node: with what it has other than the nearest before it, in few words."""
    words: dict[str, None] = {}
    for fact, _, new in changes:
        kind, _, rest = fact.partition(".")
        if kind == "identity" and new != "(none)":
            words[f"{rest.rpartition('.')[2]}={new.strip(QUOTE)[:20]}"] = None
        elif kind != "identity":
            words[f"new {rest if kind in ('inputs', 'versions') else kind}"] = None
    more = len(words) - most
    return " ".join([name, *list(words)[:most], *([f"+{more}"] if more > 0 else [])])
