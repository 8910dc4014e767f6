"""From a model back to source files and licenses, read from the store's COMMIT.json files alone."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.log import clock
from infra.storage import read_json
from infra.workflow.node import Refused
from infra.workflow.store import Slot, Store


@dataclass(frozen=True)
class Ancestor:
    """An artifact and what it was made from."""

    name: str
    kind: str
    digest: str
    run: str
    folder: Path | None
    """Its slot; None where it lies outside the store."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """Its COMMIT.json."""
    inputs: Mapping[str, "Ancestor"] = field(default_factory=dict)


def find(store: Store, reference: str, *, kind: str | None = None) -> Slot:
    """The slot that a person means: a path, the name of a node or of a corpus (its newest artifact), `name@digest`,
    a run or a fingerprint. With `kind`, of artifacts of that kind alone: a catalog may be called like its corpus.

    Raises: Refused, a sentence that lists what there is.
    """
    path = Path(reference)
    if path.exists():
        return slot_of_path(store, path.resolve())
    name, _, wanted = reference.partition("@")
    every = [(slot, record) for slot in store.slots() if (record := slot.commit_record()) is not None]
    whole = [(slot, record) for slot, record in every if kind is None or record["kind"] == kind]
    for name_in in (name_of_node, name_of_corpus):
        for slot, record in whole:
            if name_in(record) == name and str(record["digest"]).startswith(wanted):
                return slot
    for slot, record in whole:
        if len(name) >= 6 and (str(record["run"]).startswith(name) or str(record["fingerprint"]).startswith(name)):
            return slot
    known = sorted({str(record["name"]) for _, record in whole})
    there = f"there are: {', '.join(known)}" if known else "nothing is made there yet"
    raise Refused(f"no {reference!r} in {store.root}; {there}")


def name_of_node(record: Mapping[str, Any]) -> str:
    """What a workflow calls it."""
    return str(record["name"])


def name_of_corpus(record: Mapping[str, Any]) -> str | None:
    """What a corpus calls itself: its card, its pages and `stats` say `name@digest` by it."""
    return str(record["manifest"].get("name", "")) if record["kind"] == "corpus" else None


def slot_of_path(store: Store, path: Path) -> Slot:
    """The slot that a path lies in, or the one whose run the bundle's card names."""
    for folder in (path, *path.parents):
        if (folder / "COMMIT.json").is_file():
            return Slot(folder)
    for card in (path / "stipple.json", path / "bundle" / "stipple.json"):
        run = (read_json(card) or {}).get("run")
        slot = store.by_run(str(run)) if run else None
        if slot is not None:
            return slot
    raise Refused(
        f"{path}: not an artifact of a store, and no bundle whose card (stipple.json) names a run in {store.root}"
    )


def ancestors(store: Store, slot: Slot) -> Ancestor:
    """The tree above an artifact.

    Raises: Refused where nothing is made there, or not any more.
    """
    record = slot.commit_record()
    if record is None:
        raise Refused(f"{slot.folder}: nothing is made there; somebody may be making it again")
    return climb(store, slot, record, {})


def climb(store: Store, slot: Slot, record: Mapping[str, Any], known: dict[Path, Ancestor]) -> Ancestor:
    """One artifact of the tree; the same one is the same object wherever it appears."""
    if slot.folder in known:
        return known[slot.folder]
    inputs = {}
    for role, made in record.get("inputs", {}).items():
        found = store.made_by(made["run"], at=Slot(Path(made["out"]).parent))
        if found is not None:
            inputs[role] = climb(store, *found, known)
        else:
            inputs[role] = Ancestor(made["name"], made["kind"], made["digest"], made["run"], None, {"out": made["out"]})
    about = {key: str(record[key]) for key in ("name", "kind", "digest", "run")}
    known[slot.folder] = Ancestor(**about, folder=slot.folder, record=record, inputs=inputs)
    return known[slot.folder]


def tree_lines(top: Ancestor, *, files: int = 3) -> list[str]:
    """The tree as text, newest first; an artifact that stands above is not spelled out again."""
    seen: set[tuple[str, str]] = set()

    def walk(at: Ancestor, prefix: str) -> Iterator[str]:
        branches: list[tuple[str, Ancestor | str]] = []
        if (at.name, at.digest) not in seen:
            seen.add((at.name, at.digest))
            branches += [(f"{role}  ", source) for role, source in at.inputs.items()]
            branches += [("", line) for line in sources(at, files=files)]
        for number, (label, branch) in enumerate(branches):
            last = number == len(branches) - 1
            again = isinstance(branch, Ancestor) and (branch.name, branch.digest) in seen
            text = branch if isinstance(branch, str) else version(branch) + "  (see above)" if again else head(branch)
            yield f"{prefix}{'`- ' if last else '|- '}{label}{text}"
            if isinstance(branch, Ancestor):
                yield from walk(branch, prefix + ("   " if last else "|  "))

    return [head(top), *walk(top, "")]


def version(at: Ancestor) -> str:
    """`name@digest`, as short as a person needs it."""
    return f"{at.name}@{at.digest[:8]}"


def head(at: Ancestor) -> str:
    """An artifact in a line: version, run, when, how long, which code, which manifest."""
    words = [version(at)]
    if at.run:
        words.append(f"run {at.run[:8]}")
    if at.folder is None:
        words.append(f"from outside the store: {at.record.get('out', '')}")
        return "  ".join(words)
    words.append(datetime.fromtimestamp(float(at.record["committed"])).strftime("%Y-%m-%d %H:%M"))
    words.append(clock(float(at.record["seconds"])))
    code = at.record.get("code", {})
    words.append(f"git {code.get('git_sha', 'unknown')[:8]}{'+changes' if code.get('git_dirty') == 'yes' else ''}")
    if at.record.get("edited"):
        words.append("code edited while it was made")
    words.append(Path(at.record["manifest_path"]).name)
    licenses = at.record.get("summary", {}).get("licenses")
    if isinstance(licenses, list) and licenses:
        words.append(", ".join(map(str, licenses)))
    return "  ".join(words)


def sources(at: Ancestor, *, files: int) -> list[str]:
    """For a catalog of recordings: how many files under which license, from where, and the first few of them."""
    if at.kind != "recordings" or at.folder is None:
        return []
    rows = recordings(at.folder / "out" / "recordings.jsonl")
    groups = Counter((str(row.get("license", "unknown")), str(row.get("source", ""))) for row in rows)
    lines = []
    for (license, source), count in sorted(groups.items()):
        some = [
            row for row in rows if (str(row.get("license", "unknown")), str(row.get("source", ""))) == (license, source)
        ]
        names = ", ".join(str(row["name"]) for row in some[:files])
        more = f", and {count - files} more" if count > files else ""
        lines.append(f"{count} file{'s' if count > 1 else ''}  {license}  {source}: {names}{more}")
    return lines


def recordings(path: Path) -> list[dict[str, Any]]:
    """The rows of a catalog."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def as_table(at: Ancestor) -> dict[str, Any]:
    """The tree as plain data, for `--json`."""
    return {
        "name": at.name,
        "kind": at.kind,
        "digest": at.digest,
        "run": at.run,
        "folder": str(at.folder) if at.folder else None,
        "licenses": at.record.get("summary", {}).get("licenses", []),
        "inputs": {role: as_table(source) for role, source in at.inputs.items()},
    }
