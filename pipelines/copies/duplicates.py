"""Near copies among many audio prints, at a cost that grows with their number and not with that of their pairs.

Two words a quarter of a second apart are a key of 32 bits. Clips that share a key are looked at: first around it, then
over all that they have in common. A clip gives up to KEYS keys, chosen by their value, so that a copy gives the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.copies.prints import HOP_SECONDS, STEP, Words

KEYS = 64
"""That a clip gives, about: all of a clip of 3 s, one of four of a clip of 10 s."""
MOST_KEYS = 1 << 26
"""Of all clips; with more clips, each gives fewer."""
NEIGHBORS = 16
"""Clips with the same key that are compared with one: a key that all share does not make all pairs."""
AROUND = 24
"""Words around the key that are compared first."""
NEAR_RATE, RATE = 0.2, 0.2
"""Shares of bits that may differ: around the key, and over all. Copies have up to 0.13, others from 0.34."""
EVEN = 0.27
"""Share that speaks neither for a copy nor against it: where the same sound ends, more bits differ than this."""
SHORTEST_SECONDS = 0.8
"""Of an overlap that counts, in prints."""
SURE_SECONDS, SHORT_RATE = 1.5, 0.1
"""Below so much, chance alone can be like a bad copy: then fewer bits may differ."""
LONG_SECONDS, WHOLE_SHARE = 3.0, 0.6
"""What is alike for less has to be that share of all that the two would have in common: the same music is heard in the
pauses of different speech, for up to 1.7 s and 0.38 of the overlap; of a copy, nearly all is alike."""
CHUNK = 1 << 24
"""Keys, and CHUNK / 16 pairs, that are worked on at a time: bounds the memory to about 1 GB."""

Numbers = NDArray[np.int64]
ClipOf = NDArray[np.int32]
"""Number of the clip of every word."""


@dataclass(frozen=True)
class Prints:
    """The prints of many clips, one after another."""

    words: Words
    starts: Numbers
    """Where each clip begins in `words`; the last one is its length."""

    @staticmethod
    def of(prints: Sequence[Words]) -> "Prints":
        """Of a list."""
        starts = np.concatenate([[0], np.cumsum([len(item) for item in prints], dtype=np.int64)])
        return Prints(np.concatenate([np.zeros(0, np.uint16), *prints]), starts.astype(np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True)
class Pair:
    """Two clips that sound the same for a while."""

    one: int
    other: int
    """Numbers of the clips; `one` is the lower."""
    shift_seconds: float
    """Moment of `one` at which the beginning of `other` would be; below 0, where `other` begins earlier."""
    seconds: float
    """How long they are alike, in prints: about half a second less than in sound."""
    rate: float
    """Share of bits that differ."""


def near_pairs(prints: Prints, groups: NDArray[np.int64] | None = None) -> list[Pair]:
    """Pairs of clips that overlap in the same sound; of clips of different groups only, where groups are given."""
    prints = Prints(np.append(prints.words, np.zeros(AROUND, np.uint16)), prints.starts)  # room to look ahead in
    clip_of = np.repeat(np.arange(len(prints), dtype=np.int32), np.diff(prints.starts))
    found: dict[tuple[int, int], Pair] = {}
    for at, to in candidates(prints, clip_of, groups):
        shift = (at - prints.starts[clip_of[at]]) - (to - prints.starts[clip_of[to]])
        triples = np.unique(np.stack([clip_of[at], clip_of[to], shift], axis=1), axis=0)
        for one, other, moved in triples.tolist():
            pair = compared(prints, one, other, moved)
            if pair is None:
                continue
            before = found.get((one, other))
            if before is None or (pair.seconds, -pair.rate) > (before.seconds, -before.rate):
                found[one, other] = pair
    return [found[key] for key in sorted(found)]


def candidates(prints: Prints, clip_of: ClipOf, groups: Numbers | None) -> Iterator[tuple[Numbers, Numbers]]:
    """Places of two clips each with the same key, that are alike around it; the clip of the first is the lower."""
    places = key_places(prints, clip_of)
    words = prints.words
    parts = max(1, -(-len(places) // CHUNK))
    for part in range(parts):
        mine = places if parts == 1 else places[mixed(key_at(words, places)) % np.uint32(parts) == part]
        keys = key_at(words, mine)
        order = np.argsort(keys, kind="stable")
        keys, mine = keys[order], mine[order]
        for distance in range(1, NEIGHBORS + 1):
            same = np.flatnonzero(keys[:-distance] == keys[distance:])
            for start in range(0, len(same), CHUNK // 16):
                some = same[start : start + CHUNK // 16]
                one, other = mine[some], mine[some + distance]
                apart = clip_of[one] != clip_of[other]
                if groups is not None:
                    apart &= groups[clip_of[one]] != groups[clip_of[other]]
                one, other = one[apart], other[apart]
                alike = near_rate(prints, clip_of, one, other) <= NEAR_RATE
                if alike.any():
                    yield one[alike], other[alike]


def key_places(prints: Prints, clip_of: ClipOf) -> Numbers:
    """Where a key begins, in ascending order: chosen by the key alone, at a rate that depends on the clip's length."""
    sizes = np.diff(prints.starts)
    share = np.minimum(1.0, KEYS / np.maximum(sizes, 1))
    total = float((share * sizes).sum())
    limit = np.minimum(share * min(1.0, MOST_KEYS / max(total, 1.0)) * 2.0**32, 2.0**32 - 1).astype(np.uint32)
    chosen = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(clip_of) - STEP, CHUNK):
        clip = clip_of[start : start + CHUNK + STEP]
        words = prints.words[start : start + len(clip)]
        inside = clip[:-STEP] == clip[STEP:]
        for side in (words[:-STEP], words[STEP:]):
            inside &= (side != 0) & (side != 0xFFFF)  # silence, and what only falls or rises
        places = np.flatnonzero(inside)
        chosen.append(start + places[mixed(key_at(words, places)) <= limit[clip[places]]])
    return np.concatenate(chosen)


def key_at(words: Words, places: Numbers) -> NDArray[np.uint32]:
    """Two words, STEP apart."""
    return np.asarray(words[places].astype(np.uint32) << np.uint32(16) | words[places + STEP], dtype=np.uint32)


def mixed(keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The keys, so that any share of the values is a share of the keys (the finalizer of MurmurHash3)."""
    state = keys.copy()
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state ^= state >> np.uint32(shift)
        state *= np.uint32(factor)
    return state ^ (state >> np.uint32(16))


def near_rate(prints: Prints, clip_of: ClipOf, one: Numbers, other: Numbers) -> NDArray[np.float32]:
    """Share of differing bits in the AROUND words, or fewer, that both have around their common key."""
    starts = prints.starts
    low = np.maximum(starts[clip_of[one]] - one, starts[clip_of[other]] - other)
    low = np.maximum(low, -(AROUND // 4))
    high = np.minimum(starts[clip_of[one] + 1] - one, starts[clip_of[other] + 1] - other)
    runs = np.lib.stride_tricks.sliding_window_view(prints.words, AROUND)
    bits = np.bitwise_count(runs[one + low] ^ runs[other + low])
    there = np.minimum(high - low, AROUND)
    bits *= np.arange(AROUND) < there[:, None]
    return np.asarray(bits.sum(axis=1, dtype=np.float32) / (16 * there), dtype=np.float32)


def compared(prints: Prints, one: int, other: int, moved: int) -> Pair | None:
    """The pair, where the two are alike for long enough at this shift, or a hop beside it."""
    first = prints.words[prints.starts[one] : prints.starts[one + 1]]
    second = prints.words[prints.starts[other] : prints.starts[other + 1]]
    best: Pair | None = None
    for shift in (moved, moved - 1, moved + 1):
        a, b = first[max(shift, 0) :], second[max(-shift, 0) :]
        size = min(len(a), len(b))
        if size * HOP_SECONDS < SHORTEST_SECONDS:
            continue
        low, high, rate = alike_run(np.bitwise_count(a[:size] ^ b[:size]) / 16)
        seconds = (high - low) * HOP_SECONDS
        good = seconds >= SHORTEST_SECONDS and rate <= (RATE if seconds >= SURE_SECONDS else SHORT_RATE)
        good &= seconds >= LONG_SECONDS or high - low >= WHOLE_SHARE * size
        if good and (best is None or (seconds, -rate) > (best.seconds, -best.rate)):
            best = Pair(one, other, shift * HOP_SECONDS, seconds, rate)
    return best


def alike_run(rates: NDArray[np.float64]) -> tuple[int, int, float]:
    """The stretch in which the words are alike: start, end, and the mean of its rates.

    It is that with the greatest sum of EVEN less the rate of each word (Kadane's maximum subarray).
    """
    sums = np.concatenate([[0.0], np.cumsum(EVEN - rates)])
    lowest = np.minimum.accumulate(sums)
    high = int(np.argmax(sums - lowest))
    low = int(np.argmin(sums[: high + 1]))
    return low, high, float(rates[low:high].mean()) if high > low else 1.0
