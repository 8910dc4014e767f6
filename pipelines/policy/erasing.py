"""What work folders hold of what was taken down is overwritten: sound and arrays by zeros; words and scores go.

A later build could take them over from there; it finds a segment that was dropped, and when, and no more. Of its row
stays what says which interval of which recording it is, so that it is known for what it is wherever it comes again.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from infra.locks import owned
from infra.manifest import canonical
from infra.storage import replacing, write_atomic
from infra.workflow.store import Slot, Store
from pipelines.ledger import PACKED
from pipelines.policy.redaction import UNREDACTED, named_in
from pipelines.policy.repeated import KEYS
from pipelines.policy.takedown import Found
from pipelines.policy.tombstones import TAKEDOWN, Tombstone, store_of
from pipelines.policy.withdrawn import Withdrawn
from pipelines.shards import CorpusError

STAYS = {*UNREDACTED, "schema", "recording", "start_sample", "end_sample", "rate_hz", "channels"}
"""Of the row of a segment."""
MOST_WORDS = 64
"""That are looked for in the bytes of a result."""
SEGMENT_KEY = re.compile(r"[0-9a-f]{26}")

Extent = tuple[int, int]
"""Offset and length, in bytes."""


def erase_beside(root: Path, made: Tombstone, found: Sequence[Found]) -> tuple[int, list[Path]]:
    """Erase what a tombstone names in all work folders of the store that the corpus in `root` is in.

    `found`: the corpora that it touches. Returns how many stored segments were erased, and the work folders that are in
    use, where nothing was changed: a build that begins to put its corpus together later erases them itself.

    Raises: CorpusError
    """
    store = store_of(root)
    if store is None or made.reason != TAKEDOWN:
        return 0, []
    names = {place.root.resolve(): place.name for place in found}
    count, busy = 0, []
    for slot in Store(store).slots():
        if not (slot.work / "units").is_dir():
            continue
        with at_rest(slot) as free:
            if not free:
                busy.append(slot.work)
                continue
            corpus = slot.out.resolve()
            keys = keys_of(slot.out, made, name=names[corpus]) if corpus in names else set()
            here = erase(slot.work, Withdrawn([made], names.get(corpus, "")), keys=keys)
            if here:
                shutil.rmtree(slot.work / PACKED, ignore_errors=True)  # shards that were begun; they are packed again
            count += here
    return count, busy


@contextlib.contextmanager
def at_rest(slot: Slot) -> Iterator[bool]:
    """Hold the slot, unless somebody works in it, here or on another host: then yields False."""
    if slot.state().get("status") == "running" and not slot.left_running():
        yield False
        return
    with owned(slot.folder / ".lock") as free:
        yield free


def keys_of(root: Path, made: Tombstone, *, name: str) -> set[str]:
    """The segments in the ledger of the corpus in `root` that the tombstone names: also by a source that the catalog
    has told since they were annotated."""
    hit = named_in(root, Withdrawn([made], name))
    return {key for key in hit["key"].to_pylist() if key is not None}


def may_hold(withdrawn: Withdrawn, keys: Set[str]) -> Callable[[bytes], bool]:
    """What says of the bytes of a unit's result whether a segment to be erased may be in it.

    Such a segment has one of a few words in full, as JSON writes them. To look for them takes a tenth of the time that
    it takes to read the segments; where they are too many, or one is empty, everything is to be read.
    """
    words = withdrawn.words()
    if "" in words or len(words) > MOST_WORDS or not all(map(SEGMENT_KEY.fullmatch, keys)):
        return lambda data: True
    needles = [canonical(word).encode(errors="surrogatepass") for word in words]
    digits = {key[:16].encode() for key in keys}

    def told(data: bytes) -> bool:
        found = any(needle in data for needle in needles)
        return found or bool(digits) and not digits.isdisjoint(KEYS.findall(data))

    return told


def erase(work: Path, withdrawn: Withdrawn, *, keys: Set[str], units: Set[str] | None = None) -> int:
    """Erase segments, by tombstone or key, in the results of `units` (of all units), by whatever chains in `work`.
    Returns how many were not erased before.

    Nothing moves to another place in the files. They are new ones, since builds share theirs, and the result comes
    before the sound: whoever is killed between them does the rest when asked again.

    Raises: CorpusError
    """
    count, wanted = 0, may_hold(withdrawn, keys)
    for path in sorted((work / "units").glob("*.jsonl")):
        if units is not None and path.name.split(".")[0] not in units:
            continue
        if not wanted(data := path.read_bytes()):
            continue
        before = data.splitlines(keepends=True)
        lines, extents = before[:1], list[Extent]()
        for line in before[1:]:
            facts = facts_in(line, path)
            segment = facts.get("segment")
            hit = segment is not None and (segment["key"] in keys or withdrawn.of(segment) is not None)
            lines.append(canonical(erased(facts)).encode().ljust(len(line) - 1) + b"\n" if hit else line)
            if hit:
                extents += [(sound["offset"], sound["flac_bytes"]) for sound in facts.get("sounds", ())]
                extents += [(array["offset"], array["npy_bytes"]) for array in facts.get("arrays", ())]
        new = sum(one != other for one, other in zip(before, lines, strict=True))
        if new:
            write_atomic(path, b"".join(lines))
        if extents:
            overwrite(path.with_suffix(".flac"), extents)
        count += new
    return count


def facts_in(line: bytes, path: Path) -> dict[str, Any]:
    """The fate in a line of a unit's file.

    Raises: CorpusError
    """
    try:
        facts: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise CorpusError(f"{path}: cannot be read ({error}); remove it and run again") from None
    return facts


def erased(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The fate of a segment that was taken down: dropped where it was cut, so that no transform hears it again."""
    segment = {name: value for name, value in facts["segment"].items() if name in STAYS}
    segment |= {"corpus": facts["segment"]["corpus"], "source": ""}
    told = {"status": "dropped", "transform": "segment", "reason": TAKEDOWN, "segment": segment}
    return {**{name: value for name, value in facts.items() if name != "source"}, **told}


def overwrite(path: Path, extents: Sequence[Extent]) -> None:
    """Zeros there, in a new file of the same name; where there are only zeros, the file stays as it is."""
    with path.open("rb") as file:
        if not any(os.pread(file.fileno(), count, offset).strip(b"\0") for offset, count in extents):
            return
        with replacing(path) as made:
            shutil.copyfileobj(file, made)
            for offset, count in extents:
                made.seek(offset)
                made.write(bytes(count))
