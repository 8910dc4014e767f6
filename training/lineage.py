"""From a model to the samples that it has heard, and from a recording to the models that have heard it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.ancestry import Ancestor, ancestors, version
from infra.digests import file_digest
from infra.log import clock
from infra.workflow.node import Refused
from infra.workflow.store import Slot, Store
from pipelines.shards import Corpus, CorpusError
from training.data.collate import seconds_of_patches
from training.data.holdout import hashes_of
from training.heard import Part, Stretch, history, whole

NAMED = ("key", "recording", "recording_sha256", "pcm_sha256", "source")
"""Columns of the index that a word is looked for in."""


def samples(top: Ancestor, *, keys: bool) -> Iterator[str]:
    """What the model's stages have heard, the earliest last: counts by corpus, or every sample of every step.

    Raises: Refused
    """
    stages = [one for one in above(top) if one.kind == "train" and one.folder is not None]
    if not stages:
        raise Refused(f"{version(top)}: is no model, nor made from one")
    for stage in stages:
        assert stage.folder is not None
        stretched = history(Slot(stage.folder))
        if keys:
            yield from every_sample(version(stage), stretched)
        else:
            yield f"{version(stage)}  {max((one.last for one in stretched), default=0)} steps"
            yield from (f"  {line}" for line in counted(stretched))


def above(at: Ancestor) -> list[Ancestor]:
    """An artifact and all that it was made from, each once."""
    found = {(at.name, at.digest): at}
    for source in at.inputs.values():
        found |= {(one.name, one.digest): one for one in above(source)}
    return list(found.values())


def counted(stretched: Sequence[Stretch]) -> Iterator[str]:
    """A line a corpus: how much was heard of it, how often, and what was held out."""
    times: dict[str, NDArray[np.int64]] = {}
    parts: dict[str, Part] = {}
    for one in stretched:
        for part in one.parts:
            parts[part.corpus] = part
            times.setdefault(part.corpus, np.zeros(len(part.patches), dtype=np.int64))
        for _, seen_N2 in one.pools():
            for number, part in enumerate(one.parts):
                own = seen_N2[seen_N2[:, 0] == number, 1]
                times[part.corpus] += np.bincount(own, minlength=len(part.patches))
    for corpus, count_N in times.items():
        part = parts[corpus]
        seconds = seconds_of_patches(int((count_N * part.patches).sum()))
        yield (
            f"{corpus}  {int((count_N > 0).sum())} of {len(part.numbers)} samples, {int(count_N.sum())} times, "
            f"{clock(seconds)}; {len(part.held_out)} held out"
        )


def every_sample(stage: str, stretched: Sequence[Stretch]) -> Iterator[str]:
    """Stage, step (counted from 1), corpus, key and recording of every sample, tab-separated.

    Raises: Refused where a corpus is gone.
    """
    for one in stretched:
        rows = [names_of(part) for part in one.parts]
        for step in range(one.first, one.last):
            for number, sample in one.plan.step(step):
                key, recording = rows[number][sample]
                yield "\t".join((stage, str(step + 1), one.parts[number].corpus, key, recording))


def names_of(part: Part) -> Mapping[int, tuple[str, str]]:
    """Number -> key and recording.

    Raises: Refused where the corpus is gone, or another one lies in its place.
    """
    try:
        table = whole(part).rows.columns("key", "recording")
    except CorpusError as error:
        raise Refused(f"{part.corpus}: its keys cannot be read any more ({error})") from None
    same = len(table) == len(part.patches)
    if not (same and np.array_equal(hashes_of(table["key"].take(part.numbers)), part.hashes)):
        raise Refused(f"{part.at}: another corpus lies there than {part.corpus}, which this stage heard")
    names = zip(table["key"].to_pylist(), table["recording"].to_pylist(), strict=True)
    return dict(enumerate(names))


# -- from a recording to the models


def models(store: Store, word: str, *, steps: bool) -> Iterator[str]:
    """Which models of a store have heard what a word names, and which were made from those; last, of which nothing can
    be said.

    Raises: Refused where nobody has.
    """
    slots = [slot for slot in store.slots() if (slot.commit_record() or {}).get("kind") == "train"]
    told: dict[str, list[str]] = {}
    known: dict[str, str] = {}
    lines: list[str] = []
    unknown: list[str] = []
    for slot in reversed(slots):
        own = ancestors(store, slot)
        name = version(own)
        try:
            told[name] = list(heard_by(history(slot), word, steps=steps, known=known))
        except Refused as error:
            unknown.append(f"{name}  cannot be told: {error}")
        through = [version(one) for one in above(own)[1:] if told.get(version(one))]
        if told.get(name):
            lines += [f"{name}  run {own.run[:8]}", *(f"  {line}" for line in told[name])]
        if through:
            lines += [*([] if told.get(name) else [f"{name}  run {own.run[:8]}"]), f"  through {', '.join(through)}"]
    if not lines and not unknown:
        raise Refused(f"no model in {store.root} has heard {word!r}, by what their stages kept")
    yield from lines + unknown


def heard_by(stretched: Sequence[Stretch], word: str, *, steps: bool, known: dict[str, str]) -> Iterator[str]:
    """A line a sample that the word names: at which steps it was heard, or that it was held out. `known`: key -> its
    recording, of what any index has said so far.

    Raises: Refused where nothing was found, and a corpus cannot be asked for the word any more.
    """
    lost, told = set(), False
    for part in {id(part): part for one in stretched for part in one.parts}.values():
        try:
            known |= named(whole(part), word)
        except CorpusError:
            lost.add(part.corpus)
    keys = sorted({word, Path(word).stem, *known})
    hashes = hashes_of(keys)
    for key, mark in zip(keys, hashes, strict=True):
        at: list[int] = []
        held: set[str] = set()
        corpora: set[str] = set()
        for one in stretched:
            wanted = [part.numbers[np.flatnonzero(part.hashes == mark)] for part in one.parts]
            held |= {part.corpus for part in one.parts if (part.held_hashes == mark).any()}
            corpora |= {part.corpus for part, own in zip(one.parts, wanted, strict=True) if len(own)}
            at += steps_with(one, wanted)
        of = f"{key}{' of ' + known[key] if key in known else ''}"
        if at:
            when = f": {', '.join(str(step + 1) for step in at)}" if steps else ""
            yield f"{of}, {', '.join(sorted(corpora))}: heard {len(at)} times{when}"
        elif held:
            yield f"{of}, {', '.join(sorted(held))}: held out, validated on and not trained on"
        told = told or bool(at or held)
    if lost and not told:
        raise Refused(f"{', '.join(sorted(lost))} cannot be read any more; no key that it heard is {word!r}")


def steps_with(one: Stretch, wanted: Sequence[NDArray[np.int64]]) -> list[int]:
    """The steps that saw any of these numbers, by part; a step as often as it saw one."""
    if not any(len(own) for own in wanted):
        return []
    found = []
    for steps, seen_N2 in one.pools():
        if any(np.isin(seen_N2[seen_N2[:, 0] == part, 1], own).any() for part, own in enumerate(wanted)):
            for step in steps:
                found += [step for part, number in one.plan.step(step) if number in wanted[part]]
    return found


def named(corpus: Corpus, word: str) -> dict[str, str]:
    """Key -> recording of what the word names in a corpus: its key, recording, hashes or source, or the file itself."""
    import pyarrow
    from pyarrow import compute

    words = [word, *([file_digest(Path(word)), Path(word).name] if Path(word).is_file() else [])]
    table = corpus.rows.columns(*NAMED)
    asked = pyarrow.array(words, pyarrow.large_string())
    inside = np.zeros(table.num_rows, dtype=np.bool_)
    for name in NAMED:
        inside |= compute.is_in(table[name].cast(pyarrow.large_string()), value_set=asked).to_numpy(
            zero_copy_only=False
        )
    chosen = table.select(["key", "recording"]).take(np.flatnonzero(inside))
    return dict(zip(chosen["key"].to_pylist(), chosen["recording"].to_pylist(), strict=True))
