"""Who speaks when, on a grid of 10 ms: parts of a long recording joined, and turns read off."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.clip import Turn
from pipelines.hearing.clustering import Vectors, unit

FRAME_SECONDS = 0.01
RATE_HZ = 16000
FRAME = round(FRAME_SECONDS * RATE_HZ)

Activity = NDArray[np.bool_]


@dataclass(frozen=True)
class Spoken:
    """What a diarizer heard."""

    active_FV: Activity
    """Whether a voice speaks in a frame of 10 ms; (frames, voices)."""
    centroids_VD: Vectors
    """The voices' mean embeddings, of unit length."""


def runs(mask_F: Activity) -> NDArray[np.int64]:
    """First frame and end of each run of true ones: (runs, 2)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask_F, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2)


def bridged(mask_F: Activity, *, gap: int, shortest: int) -> Activity:
    """Gaps inside it of up to `gap` frames filled, then runs of less than `shortest` taken away."""
    filled = mask_F.copy()
    found = runs(mask_F)
    for (_, end), (start, _) in zip(found, found[1:], strict=False):
        if start - end <= gap:
            filled[end:start] = True
    for start, end in runs(filled):
        if end - start < shortest:
            filled[start:end] = False
    return filled


def hysteresis(speech_F: NDArray[np.float32], *, onset: float, offset: float) -> Activity:
    """True from where the probability reaches `onset` to where it falls below `offset`."""
    low = speech_F >= offset
    mask_F = np.zeros(len(speech_F), dtype=bool)
    for start, end in runs(low):
        reached = np.flatnonzero(speech_F[start:end] >= onset)
        if len(reached):
            mask_F[start + reached[0] : end] = True
    return mask_F


def held(active_FV: Activity, *, pause: int, pad: int) -> Activity:
    """Pauses of a voice of up to `pause` frames filled where nobody else speaks, then `pad` frames added on both sides.

    Margins end half of the way to the next voice.
    """
    found_FV = active_FV.copy()
    anybody_F: Activity = np.asarray(active_FV.any(axis=1))
    for voice in range(active_FV.shape[1]):
        for start, end in runs(bridged(active_FV[:, voice], gap=pause, shortest=0) & ~active_FV[:, voice]):
            if not anybody_F[start:end].any():
                found_FV[start:end, voice] = True
    silent_F: Activity = np.asarray(~np.asarray(found_FV.any(axis=1)))
    padded_FV = found_FV.copy()
    for start, end in runs(silent_F):
        inside = start > 0 and end < len(found_FV)
        margin = min(pad, (end - start) // 2 if inside else end - start)
        if start:
            padded_FV[start : start + margin] = found_FV[start - 1]
        if end < len(found_FV):
            padded_FV[end - margin : end] = found_FV[end]
    return padded_FV


def stitched(parts: list[Spoken], *, starts: list[int], frames: int, same_cosine: float) -> Spoken:
    """Parts that begin at frames `starts` and overlap, as one: voices are the same where their centroids are near.

    In the middle of what two parts share, the later one takes over. A voice of a later part is an earlier one where it
    is that one's best match and their cosine reaches `same_cosine`; otherwise it is new.
    """
    from scipy.optimize import linear_sum_assignment

    centroids = np.zeros((0, parts[0].centroids_VD.shape[1]), dtype=np.float32)
    weights: list[float] = []
    placed: list[tuple[int, int, list[int], Activity]] = []
    for number, (part, start) in enumerate(zip(parts, starts, strict=True)):
        cosines = part.centroids_VD @ centroids.T
        rows, columns = linear_sum_assignment(-cosines)
        known = {r: c for r, c in zip(rows, columns, strict=True) if cosines[r, c] >= same_cosine}
        seconds = part.active_FV.sum(axis=0)
        names = []
        for row, vector in enumerate(part.centroids_VD):
            name = known.get(row, len(weights))
            if name == len(weights):
                centroids = np.concatenate([centroids, vector[None]])
                weights.append(0.0)
            centroids[name] = unit(centroids[name] * weights[name] + vector * float(seconds[row]))
            weights[name] += float(seconds[row])
            names.append(int(name))
        ends = start + len(part.active_FV)
        begin = start if number == 0 else (start + placed[-1][1]) // 2
        if placed:
            placed[-1] = (placed[-1][0], begin, *placed[-1][2:])
        placed.append((begin, ends, names, part.active_FV[begin - start :]))
    active_FV = np.zeros((frames, len(weights)), dtype=bool)
    for begin, ends, names, active in placed:
        inside = active[: min(ends, frames) - begin]
        for row, name in enumerate(names):
            active_FV[begin : begin + len(inside), name] |= inside[:, row]
    return Spoken(active_FV, centroids)


def turns_of(active_FV: Activity) -> tuple[Turn, ...]:
    """Runs of each voice in order of their starts, voices numbered in order of appearance."""
    found = sorted(
        (int(start), int(end), voice) for voice in range(active_FV.shape[1]) for start, end in runs(active_FV[:, voice])
    )
    order: dict[int, str] = {}
    for _, _, voice in found:
        order.setdefault(voice, str(len(order)))
    return tuple(
        Turn(round(start * FRAME_SECONDS, 2), round(end * FRAME_SECONDS, 2), order[voice])
        for start, end, voice in found
    )
