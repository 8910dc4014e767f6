"""Copies across corpora, and in evaluation sets: which clips to drop, so that a sound is trained on once or never."""

import datetime
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from infra.storage import owned
from infra.workflow.node import Refused
from pipelines.copies.duplicates import Pair, Prints, near_pairs
from pipelines.copies.prints import HOP_SECONDS, SHORTEST_SECONDS
from pipelines.hearing.heard import Heard, Set
from pipelines.policy.tombstones import FILE, Tombstone, append, store_list, store_of
from pipelines.shards import open_corpus

ROUNDS = 10
"""Of comparing what is left: a sound with many copies shows a few of its pairs at a time."""
EVALUATION_SECONDS = 1.5
"""Of an evaluation set: who has heard so much of it has heard it."""


@dataclass(frozen=True)
class Copy:
    """A clip that is to go, and the one that it is a copy of."""

    reason: str
    """`near_duplicate`, or `evaluation_overlap`."""
    exact: bool
    """The same samples."""
    of_set: int
    clip: Heard
    kept_set: int
    kept: Heard
    seconds: float
    """How long the same sound is heard."""
    rate: float
    """Share of the print's bits that differ."""


def copies(sets: Sequence[Set], evaluation: Sequence[Set] = (), *, min_share: float = 0.5) -> list[Copy]:
    """What to drop of the sets, in their order of preference: of two copies, the one of the earlier set is kept.

    Inside a set, that with the higher bandwidth is, then the longer one. Clips count as copies where at least
    `min_share` of the shorter one is heard in both; copies of an evaluation clip, from EVALUATION_SECONDS on, too.
    """
    everything = [*evaluation, *sets]
    owner = np.concatenate([np.full(len(item.clips), number) for number, item in enumerate(everything)]).astype(
        np.int64
    )
    clips = [clip for item in everything for clip in item.clips]
    rank = sorted(
        range(len(clips)), key=lambda n: (owner[n], -clips[n].quality[0], -clips[n].quality[1], clips[n].name)
    )
    place = {number: at for at, number in enumerate(rank)}
    gone: dict[int, Copy] = {}
    for _ in range(ROUNDS):
        left = [number for number in rank if number not in gone]
        edges = pairs_of([clips[number] for number in left], owner[left], judges=len(evaluation))
        new = greedy(left, edges, place, clips, owner, judges=len(evaluation), min_share=min_share)
        gone |= new
        if not new:
            break
    return [
        replace(copy, of_set=copy.of_set - len(evaluation), kept_set=copy.kept_set - len(evaluation))
        for _, copy in sorted(gone.items(), key=lambda pair: place[pair[0]])
    ]


def pairs_of(clips: Sequence[Heard], owner: np.ndarray, *, judges: int) -> list[tuple[Pair, bool]]:
    """Pairs of clips, by their place in the list, and whether they are exact; none inside of evaluation sets."""
    by_hash = defaultdict(list)
    for number, clip in enumerate(clips):
        by_hash[clip.pcm_sha256].append(number)
    exact = [
        (Pair(members[0], other, 0.0, clips[other].seconds, 0.0), True)
        for members in by_hash.values()
        for other in members[1:]
    ]
    one_group = np.where(owner < judges, -1, np.arange(len(clips)))
    near = [(pair, False) for pair in near_pairs(Prints.of([clip.words for clip in clips]), one_group)]
    heard = [(replace(pair, seconds=pair.seconds + SHORTEST_SECONDS - HOP_SECONDS), sure) for pair, sure in near]
    return [(pair, sure) for pair, sure in [*exact, *heard] if max(owner[pair.one], owner[pair.other]) >= judges]


def greedy(
    left: Sequence[int],
    edges: Sequence[tuple[Pair, bool]],
    place: dict[int, int],
    clips: Sequence[Heard],
    owner: np.ndarray,
    *,
    judges: int,
    min_share: float,
) -> dict[int, Copy]:
    """In order of preference: a clip goes where one that stays is its copy."""
    near: dict[int, list[tuple[int, Pair, bool]]] = defaultdict(list)
    for pair, sure in edges:
        better, worse = sorted((left[pair.one], left[pair.other]), key=place.__getitem__)
        near[worse].append((better, pair, sure))
    gone: dict[int, Copy] = {}
    for number in sorted(near, key=place.__getitem__):
        for better, pair, sure in sorted(near[number], key=lambda item: (not item[2], -item[1].seconds)):
            if better in gone:
                continue
            judged = owner[better] < judges
            shorter = min(clips[number].seconds, clips[better].seconds)
            enough = sure or pair.seconds >= min_share * shorter or (judged and pair.seconds >= EVALUATION_SECONDS)
            if not enough:
                continue
            reason = "evaluation_overlap" if judged else "near_duplicate"
            sets = int(owner[number]), int(owner[better])
            seconds = min(pair.seconds, shorter)
            gone[number] = Copy(reason, sure, sets[0], clips[number], sets[1], clips[better], seconds, pair.rate)
            break
    return gone


def check_names(sets: Sequence[Set], evaluation: Sequence[Set]) -> None:
    """Can each set's copies be hidden without those that are kept? Tombstones go by the name of a corpus, and by key.

    Raises: Refused where two sets are versions or views of one corpus, or a folder that no tombstone can be for.
    """
    if nameless := [item.name for item in sets if item.corpus is None]:
        raise Refused(f"{nameless[0]}: is no corpus, so nothing can be hidden in it; give it as --against")
    count = Counter(item.corpus for item in sets) + Counter({item.corpus for item in evaluation})
    if twice := [item.corpus for item in sets if count[item.corpus] > 1]:
        raise Refused(
            f"{twice[0]} is given twice: what is hidden in one version or view of it is hidden in all, with the copy "
            "that is kept; leave one of them out, or leave out --apply"
        )


def write_tombstones(found: Sequence[Copy], sets: Sequence[Set], evaluation: Sequence[Set], *, who: str) -> int:
    """Hide the copies from readers and later builds: a tombstone a corpus, reason and set that has the other copy. A
    copy stays where the other one was hidden since they were compared: two who compare at once would hide both.

    Raises: Refused, as `check_names` does.
    """
    check_names(sets, evaluation)
    with ExitStack() as held:
        for lock in sorted({list_of(item.root).with_name(".dedup.lock") for item in sets}):
            held.enter_context(owned(lock, waiting=lambda _: None))
        everything = [*evaluation, *sets]
        seen = [keys_seen(item) for item in everything]
        still = [copy for copy in found if copy.kept.name in seen[copy.kept_set + len(evaluation)]]
        return append_tombstones(still, sets, everything, who=who)


def list_of(root: Path) -> Path:
    """The list that says for all who build what is hidden in the corpus in `root`."""
    store = store_of(root)
    return root / FILE if store is None else store_list(store)


def keys_seen(item: Set) -> set[str]:
    """The clips of a set that readers see now."""
    if item.corpus is None:
        return {clip.name for clip in item.clips}
    return {str(key) for key in open_corpus(item.root).rows.columns("key")["key"].to_pylist()}


def append_tombstones(found: Sequence[Copy], sets: Sequence[Set], everything: Sequence[Set], *, who: str) -> int:
    """What `write_tombstones` does, of copies that are to go; `everything`: evaluation sets, then `sets`."""
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    count = 0

    def where(copy: Copy) -> tuple[int, str, int]:
        return copy.of_set, copy.reason, copy.kept_set

    for (of_set, reason, kept), group in groupby(sorted(found, key=where), key=where):
        keys = tuple(sorted(copy.clip.name for copy in group))
        item, other = sets[of_set], everything[kept + len(everything) - len(sets)]
        made = Tombstone(
            field="key",
            values=keys,
            corpus=item.corpus,
            reason=reason,
            why=f"heard in {other.name}",
            who=who,
            when=when,
        )
        store = store_of(item.root)
        if store is not None:
            append(store_list(store), [made])
        count += append(item.root / FILE, [made])
    return count
