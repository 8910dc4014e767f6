"""In what two artifacts differ, down to what they were made from: what decides their bytes, and what does not."""

from collections.abc import Iterator, Mapping
from typing import Any

from infra.ancestry import Ancestor, version
from infra.workflow.fingerprint import differences, flat, sentence, sentences


def compared(one: Ancestor, other: Ancestor) -> list[str]:
    """For people, the artifact first, then every input of one name in which they differ, and what those differ in."""
    return list(walk(one, other, set(), ""))


def walk(one: Ancestor, other: Ancestor, seen: set[tuple[str, str]], role: str) -> Iterator[str]:
    """One pair, and the pairs of inputs below it that differ."""
    yield f"{role}{shown(one)} -> {shown(other)}"
    seen.add((one.digest, other.digest))
    if one.folder is None or other.folder is None:
        yield "  one of them lies outside the store: nothing more is known of it"
        return
    changes = differences(one.record["parts"], other.record["parts"])
    yield from (f"  {line}" for line in sentences(changes))
    if not changes:
        same = "and they are the same" if one.digest == other.digest else "but they are NOT the same: not reproduced"
        yield f"  nothing differs that decides the artifact, {same}"
    yield from (
        f"  decides nothing: {line}" for line in beside(one.record, other.record, {fact for fact, *_ in changes})
    )
    for name in [name for name in one.inputs if name in other.inputs]:
        pair = one.inputs[name], other.inputs[name]
        if (
            pair[0].name == pair[1].name
            and pair[0].digest != pair[1].digest
            and (pair[0].digest, pair[1].digest) not in seen
        ):
            yield from walk(*pair, seen, f"{name}: ")


def shown(at: Ancestor) -> str:
    """`name@digest (fingerprint)`: two runs may have made the same bytes."""
    return f"{version(at)} ({at.record['fingerprint'][:8]})" if at.folder else version(at)


def beside(one: Mapping[str, Any], other: Mapping[str, Any], decided: set[str]) -> Iterator[str]:
    """What was otherwise and is no part of the fingerprint: keys of the manifest, the commit, code that was edited."""
    old, new = flat(one["manifest"], "identity"), flat(other["manifest"], "identity")
    yield from (sentence(*change) for change in differences(old, new) if change[0] not in decided)
    before, after = code_of(one), code_of(other)
    if before != after:
        yield f"git: {before} -> {after}"


def code_of(record: Mapping[str, Any]) -> str:
    """The commit, and whether its files were as committed."""
    code = record.get("code", {})
    changed = "+changes" if code.get("git_dirty") == "yes" else ""
    edited = ", edited while it was made" if record.get("edited") else ""
    return f"{code.get('git_sha', 'unknown')[:8]}{changed}{edited}"
