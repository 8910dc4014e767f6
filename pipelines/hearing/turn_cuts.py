"""Runs of speech cut where another voice takes over, each with its voice; how much of an interval two voices share."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.clip import Turn

REACH_SECONDS = 0.25
"""A cut moves so far to where speech is least probable: turns are not known better than that."""
STRAY_SECONDS = 0.3
"""What is shorter at the edge of another voice's run is taken for a part of it."""


class Span(NamedTuple):
    """Frames [start, end) of the detector, and the voice that speaks in them, where turns are known."""

    start: int
    end: int
    voice: str | None = None


def holders(turns: Sequence[Turn], *, frames: int, step_seconds: float) -> list[str | None]:
    """The voice that has the floor in each frame: of several, the one that had it before, else the longest turn's."""
    order = sorted(turns, key=lambda turn: turn.start_seconds)
    found: list[str | None] = []
    active: list[Turn] = []
    for frame in range(frames):
        middle = (frame + 0.5) * step_seconds
        while order and order[0].start_seconds <= middle:
            active.append(order.pop(0))
        active = [turn for turn in active if turn.end_seconds > middle]
        before = found[-1] if found else None
        if any(turn.voice == before for turn in active):
            found.append(before)
        elif active:
            found.append(max(active, key=lambda turn: turn.end_seconds - turn.start_seconds).voice)
        else:
            found.append(None)
    return found


def divided(
    spans: Sequence[Span], voices: Sequence[str | None], *, dips_P: NDArray[np.float32], step_seconds: float
) -> list[Span]:
    """Spans cut at the changes of voice inside them, moved to where speech is least probable (`dips_P`).

    Frames in which nobody has the floor belong to the voice before them in the span, or else to the one after.
    """
    reach, stray = round(REACH_SECONDS / step_seconds), round(STRAY_SECONDS / step_seconds)
    found: list[Span] = []
    for span in spans:
        runs = without_strays(voiced_runs(span, voices), shortest=stray)
        start = span.start
        for number, run in enumerate(runs):
            end = run.end
            if number + 1 < len(runs):
                low, high = max(start + 1, end - reach), min(runs[number + 1].end - 1, end + reach)
                away = np.abs(np.arange(low, high + 1) - end)
                end = low + int(np.argmin(dips_P[low : high + 1] + 1e-3 * away))
            found.append(Span(start, end, run.voice))
            start = end
    return found


def voiced_runs(span: Span, voices: Sequence[str | None]) -> list[Span]:
    """The span as runs of one voice each."""
    runs: list[Span] = []
    for frame in range(span.start, span.end):
        voice = voices[frame] if frame < len(voices) else None
        if runs and (voice is None or voice == runs[-1].voice):
            runs[-1] = runs[-1]._replace(end=frame + 1)
        elif len(runs) == 1 and runs[0].voice is None:
            runs[0] = Span(span.start, frame + 1, voice)
        else:
            runs.append(Span(frame, frame + 1, voice))
    return runs


def without_strays(runs: list[Span], *, shortest: int) -> list[Span]:
    """Runs of less than `shortest` frames joined to their longer neighbor, the shortest ones first."""
    runs = list(runs)
    while len(runs) > 1:
        at = min(range(len(runs)), key=lambda number: runs[number].end - runs[number].start)
        if runs[at].end - runs[at].start >= shortest:
            break
        beside = [number for number in (at - 1, at + 1) if 0 <= number < len(runs)]
        into = max(beside, key=lambda number: runs[number].end - runs[number].start)
        first, last = sorted((at, into))
        runs[first : last + 1] = [Span(runs[first].start, runs[last].end, runs[into].voice)]
        if first and runs[first - 1].voice == runs[first].voice:
            runs[first - 1 : first + 1] = [runs[first - 1]._replace(end=runs[first].end)]
            first -= 1
        if first + 1 < len(runs) and runs[first + 1].voice == runs[first].voice:
            runs[first : first + 2] = [runs[first]._replace(end=runs[first + 1].end)]
    return runs


def main_voice(spans: Sequence[Span]) -> tuple[str | None, int]:
    """The voice that has most frames of the spans, and how many frames are other voices'."""
    frames: dict[str | None, int] = {}
    for span in spans:
        frames[span.voice] = frames.get(span.voice, 0) + span.end - span.start
    most = max(frames, key=lambda voice: frames[voice])
    return most, sum(frames.values()) - frames[most]


def overlap_ratio(turns: Sequence[Turn], *, start_seconds: float, end_seconds: float) -> float:
    """Share of an interval in which turns of two voices or more run."""
    clipped = [(max(turn.start_seconds, start_seconds), min(turn.end_seconds, end_seconds), turn) for turn in turns]
    inside = [(start, end, turn.voice) for start, end, turn in clipped if end > start]
    edges = sorted({edge for start, end, _ in inside for edge in (start, end)})
    shared = 0.0
    for start, end in zip(edges, edges[1:], strict=False):
        speaking = {voice for a, b, voice in inside if a <= start and b >= end}
        shared += end - start if len(speaking) > 1 else 0.0
    return shared / max(end_seconds - start_seconds, 1e-9)
