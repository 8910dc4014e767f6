"""What a stage keeps so that it can be said which samples it has heard, and who has heard a sample (lineage.py).

Nothing is logged at a step. A stage keeps what decides its plan: what it found in the index (12 bytes a sample, and the
hash of its key, 8 more) and at which step each of its starts began, since tombstones may have come in between:
    out/heard/heard.json      its manifest, and for every start: first step, corpora, what was found
    out/heard/<found>/*.npy   training.data.memory
So it can still be said who heard a sample after it was taken down, and after its corpus is gone.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from infra.manifest import ManifestError, parse
from infra.storage import read_json, write_json
from infra.workflow.node import Refused
from infra.workflow.store import Slot, Store
from pipelines.shards import Corpus, open_corpus
from training.data.batching import PLAN, Plan, plan_of
from training.data.collate import seconds_of_patches
from training.data.memory import recall
from training.data.stream import Source
from training.manifest import StageManifest
from training.steplog import LOSSES, read_log

HEARD = "heard"
CARD = "heard.json"
FOUND = "found"
"""A folder of the stage's work: what was found in the index."""


def begin(work: Path, sources: Sequence[Source], *, first: int) -> None:
    """Note that the stage goes on from here with what was found of these sources."""
    known = read_json(work / CARD) or {"starts": []}
    parts = [
        {"role": one.role, "corpus": one.corpus.name, "digest": one.corpus.digest, "at": str(one.corpus.place)}
        | {"found": one.found, "weight": one.weight}
        for one in sources
    ]
    starts = [start for start in known["starts"] if start["first"] < first]
    write_json(work / CARD, {"plan": PLAN, "starts": [*starts, {"first": first, "parts": parts}]})


def keep(work: Path, out: Path, *, manifest: StageManifest) -> None:
    """Keep with the artifact what decides which samples it heard."""
    card = read_json(work / CARD)
    if card is None:
        return
    shutil.rmtree(out / HEARD, ignore_errors=True)
    for name in {part["found"] for start in card["starts"] for part in start["parts"]}:
        (out / HEARD / name).mkdir(parents=True)
        for path in (work / FOUND / name).iterdir():
            try:
                os.link(path, out / HEARD / name / path.name)
            except OSError:  # another disk
                shutil.copy(path, out / HEARD / name / path.name)
    write_json(out / HEARD / CARD, {**card, "manifest": manifest.model_dump(mode="json")})


@dataclass(frozen=True)
class Part:
    """What a plan knows of one part of the mixture: all of a Source but its corpus."""

    weight: float
    numbers: NDArray[np.int64]
    held_out: NDArray[np.int64]
    patches: NDArray[np.int32]
    hashes: NDArray[np.uint64]
    held_hashes: NDArray[np.uint64]
    seen: NDArray[np.int64] | None
    corpus: str
    """`name@digest`."""
    at: str
    """Where the corpus lay."""

    @cached_property
    def seconds(self) -> float:
        """As of a Source."""
        return seconds_of_patches(int(self.patches[self.numbers].sum(dtype=np.int64)))


@dataclass(frozen=True)
class Stretch:
    """Steps `first` to before `last` of a stage, all by one plan."""

    first: int
    last: int
    plan: Plan
    parts: Sequence[Part]

    def pools(self) -> Iterator[tuple[range, NDArray[np.int64]]]:
        """Steps, and (part, number) of what they see: whole pools, and at the ends single steps."""
        size, step = self.plan.steps_in_pool, self.first
        while step < self.last:
            if step % size == 0 and step + size <= self.last:
                yield range(step, step + size), self.plan.samples(step // size)
                step += size
            else:
                yield range(step, step + 1), np.array(self.plan.step(step), dtype=np.int64)
                step += 1


def history(slot: Slot) -> list[Stretch]:
    """What decides which samples a stage has heard, finished or not.

    Raises: Refused where it was not kept.
    """
    store = Store(slot.folder.parents[1])
    for folder, kept in ((slot.out / HEARD, slot.out / HEARD), (slot.work, slot.work / FOUND)):
        card = read_json(folder / CARD)
        if card is not None:
            for part in (part for start in card["starts"] for part in start["parts"]):
                part["at"] = store.found(part["at"])
            return stretches(card, kept, work=slot.work)
    raise Refused(f"{slot.folder}: was trained before it was kept what a stage hears; train it again")


def stretches(card: Mapping[str, Any], kept: Path, *, work: Path) -> list[Stretch]:
    """The starts of a card, each until the next one.

    Raises: Refused where this code does not read its manifest, or would give the steps other samples.
    """
    if card.get("plan", 1) != PLAN:
        was = card.get("plan", 1)
        told = f"{work.parent}: was trained by order {was} of the samples, and this code has order {PLAN}"
        raise Refused(f"{told}; ask the code that trained it (its commit is in `stipple lineage show`)")
    told = card.get("manifest") or (read_json(work / "errand.json") or {})["manifest"]
    try:
        manifest = parse(StageManifest, told, where="its manifest")
    except ManifestError as error:
        why = (
            f"{work.parent}: this code does not read the manifest that it was trained by ({'; '.join(error.problems)})"
        )
        raise Refused(f"{why}; ask the code that trained it (its commit is in `stipple lineage show`)") from None
    steps = manifest.steps
    if "manifest" not in card:
        steps = max((line["step"] for line in read_log(work / LOSSES) if "losses" in line), default=0)
    ends = [start["first"] for start in card["starts"][1:]] + [steps]
    found = []
    for start, end in zip(card["starts"], ends, strict=True):
        parts = [part_of(part, kept) for part in start["parts"]]
        plan = plan_of(manifest, cast("list[Source]", parts))  # a plan asks for lengths and for no sound
        found.append(Stretch(start["first"], min(end, steps), plan, parts))
    return found


def part_of(told: Mapping[str, Any], kept: Path) -> Part:
    """One part of a start.

    Raises: Refused
    """
    words = ("numbers", "held_out", "patches", "hashes", "held_hashes")
    arrays = recall(kept / told["found"], names=words)
    if arrays is None:
        raise Refused(f"{kept / told['found']}: what was found in {told['corpus']} is gone or damaged")
    return Part(
        weight=told["weight"],
        **{name: arrays[name] for name in words},
        seen=arrays.get("seen"),
        corpus=f"{told['corpus']}@{told['digest'][:8]}",
        at=told["at"],
    )


def whole(part: Part) -> Corpus:
    """The corpus as the stage saw it, tombstones of today aside.

    Raises: CorpusError
    """
    root = Path(part.at)
    corpus = open_corpus(root if (root / "corpus.json").is_file() else root.parent, whole=True)
    rows = corpus.rows if part.seen is None else corpus.rows.only(part.seen)
    return Corpus(corpus.place, corpus.name, corpus.digest, corpus.licenses, rows)
