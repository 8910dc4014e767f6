"""Copies across corpora, and in evaluation sets: which clips to drop, so that a sound is trained on once or never."""

import datetime
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.locks import owned
from infra.workflow.node import Refused
from pipelines.copies.clip_sets import ClipSet, ComparedClip
from pipelines.copies.duplicates import Pair, Prints, near_pairs
from pipelines.copies.prints import HOP_SECONDS, SHORTEST_SECONDS
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
    clip: ComparedClip
    kept_set: int
    kept: ComparedClip
    seconds: float
    """How long the same sound is heard."""
    rate: float
    """Share of the print's bits that differ."""


@dataclass(frozen=True)
class Pool:
    """All clips that are compared, those of evaluation sets first."""

    clips: Sequence[ComparedClip]
    owner: NDArray[np.int64]
    """Number of each clip's set."""
    evaluation: int
    """How many of the sets are evaluation sets."""

    @cached_property
    def ranked(self) -> list[int]:
        """Clips in order of preference: the earlier set, the higher bandwidth, the longer clip, the name."""
        return sorted(range(len(self.clips)), key=lambda n: (self.owner[n], *better_first(self.clips[n])))

    @cached_property
    def rank(self) -> dict[int, int]:
        """Clip -> its place in that order."""
        return {number: at for at, number in enumerate(self.ranked)}

    def is_evaluation(self, number: int) -> bool:
        """Is it a clip to be kept out?"""
        return bool(self.owner[number] < self.evaluation)


def better_first(clip: ComparedClip) -> tuple[float, float, str]:
    """Sorts clips of one set by preference."""
    bandwidth, seconds = clip.quality
    return -bandwidth, -seconds, clip.name


def copies(sets: Sequence[ClipSet], evaluation: Sequence[ClipSet] = (), *, min_share: float = 0.5) -> list[Copy]:
    """What to drop of the sets, in their order of preference: of two copies, the one of the earlier set is kept.

    Inside a set, that with the higher bandwidth is, then the longer one. Clips count as copies where at least
    `min_share` of the shorter one is heard in both; copies of an evaluation clip, from EVALUATION_SECONDS on, too.
    """
    everything = [*evaluation, *sets]
    owner = np.repeat(np.arange(len(everything)), [len(item.clips) for item in everything])
    pool = Pool([clip for item in everything for clip in item.clips], owner, len(evaluation))
    gone: dict[int, Copy] = {}
    for _ in range(ROUNDS):
        new = dropped([number for number in pool.ranked if number not in gone], pool, min_share=min_share)
        gone |= new
        if not new:
            break
    return [
        replace(copy, of_set=copy.of_set - len(evaluation), kept_set=copy.kept_set - len(evaluation))
        for _, copy in sorted(gone.items(), key=lambda pair: pool.rank[pair[0]])
    ]


def pairs_of(left: Sequence[int], pool: Pool) -> list[tuple[Pair, bool]]:
    """Pairs of clips, by their place in `left`, and whether they are exact; none inside of evaluation sets."""
    clips, owner = [pool.clips[number] for number in left], pool.owner[left]
    by_hash = defaultdict(list)
    for number, clip in enumerate(clips):
        by_hash[clip.pcm_sha256].append(number)
    exact = [
        (Pair(members[0], other, 0.0, clips[other].seconds, 0.0), True)
        for members in by_hash.values()
        for other in members[1:]
    ]
    one_group = np.where(owner < pool.evaluation, -1, np.arange(len(clips)))
    near = [(pair, False) for pair in near_pairs(Prints.of([clip.words for clip in clips]), one_group)]
    heard = [(replace(pair, seconds=pair.seconds + SHORTEST_SECONDS - HOP_SECONDS), sure) for pair, sure in near]
    trained_on = owner >= pool.evaluation
    return [(pair, sure) for pair, sure in [*exact, *heard] if trained_on[pair.one] or trained_on[pair.other]]


def dropped(left: Sequence[int], pool: Pool, *, min_share: float) -> dict[int, Copy]:
    """Clips in `left` that go, in order of preference: each is a copy of one that stays."""
    near: dict[int, list[tuple[int, Pair, bool]]] = defaultdict(list)
    for pair, sure in pairs_of(left, pool):
        better, worse = sorted((left[pair.one], left[pair.other]), key=pool.rank.__getitem__)
        near[worse].append((better, pair, sure))
    gone: dict[int, Copy] = {}
    for number in sorted(near, key=pool.rank.__getitem__):
        likely = sorted(near[number], key=lambda item: (not item[2], -item[1].seconds))
        found = (
            copy_of(number, better, pair, pool, sure=sure, min_share=min_share)
            for better, pair, sure in likely
            if better not in gone
        )
        if (copy := next(filter(None, found), None)) is not None:
            gone[number] = copy
    return gone


def copy_of(number: int, better: int, pair: Pair, pool: Pool, *, sure: bool, min_share: float) -> Copy | None:
    """The clip as a copy of a better one; None where too little is heard in both. `sure`: they are exact copies."""
    clip, kept, evaluation = pool.clips[number], pool.clips[better], pool.is_evaluation(better)
    shorter = min(clip.seconds, kept.seconds)
    if not (sure or pair.seconds >= min_share * shorter or (evaluation and pair.seconds >= EVALUATION_SECONDS)):
        return None
    return Copy(
        reason="evaluation_overlap" if evaluation else "near_duplicate",
        exact=sure,
        of_set=int(pool.owner[number]),
        clip=clip,
        kept_set=int(pool.owner[better]),
        kept=kept,
        seconds=min(pair.seconds, shorter),
        rate=pair.rate,
    )


def check_names(sets: Sequence[ClipSet], evaluation: Sequence[ClipSet]) -> None:
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


def write_tombstones(found: Sequence[Copy], sets: Sequence[ClipSet], evaluation: Sequence[ClipSet], *, who: str) -> int:
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


def keys_seen(item: ClipSet) -> set[str]:
    """The clips of a set that readers see now."""
    if item.corpus is None:
        return {clip.name for clip in item.clips}
    return {str(key) for key in open_corpus(item.root).rows.columns("key")["key"].to_pylist()}


def append_tombstones(
    found: Sequence[Copy], sets: Sequence[ClipSet], everything: Sequence[ClipSet], *, who: str
) -> int:
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
