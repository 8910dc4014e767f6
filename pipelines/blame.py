"""Who is to blame where a transform raises: the clip or recording that makes it raise is marked; the others go on."""

from collections.abc import Callable
from typing import Any

from pipelines.clip import Clip, Rejected, Transform, Unusable
from pipelines.row import Recording

BLAMED = (ValueError, ArithmeticError, LookupError, RuntimeError, MemoryError, EOFError)
"""Errors that a clip may cause; all others are ours, and stop the job."""
LEAST_BATCH_SECONDS = 1.0


def outcomes_of(
    transform: Transform, clips: list[Clip], *, name: str, limits: dict[str, float]
) -> list[Clip | Rejected]:
    """The transform over the clips; where it raises, over parts of them, to find the guilty.

    `limits`: transform -> the most seconds of audio in a batch; where memory does not suffice, half from then on.
    """
    if not clips:
        return []
    try:
        outcomes = transform(clips)
    except BLAMED as error:
        short = out_of_memory(error)
        if len(clips) == 1:
            why = "memory: not enough for this clip alone" if short else sentence(error)
            return [Rejected(segment=clips[0].segment, reason=f"failed:{why}")]
        if short:
            seconds = sum(clip.segment.seconds for clip in clips)
            limits[name] = max(min(limits[name], seconds) / 2, LEAST_BATCH_SECONDS)
        return [
            outcome
            for part in parts(clips, halve=short)
            for outcome in outcomes_of(transform, part, name=name, limits=limits)
        ]
    assert len(outcomes) == len(clips), f"{name} returned {len(outcomes)} results for {len(clips)} clips"
    return outcomes


def parts(clips: list[Clip], *, halve: bool) -> list[list[Clip]]:
    """Smaller batches: halves, or the first recording and the rest, or single clips."""
    if halve:
        return [clips[: len(clips) // 2], clips[len(clips) // 2 :]]
    first = [clip for clip in clips if clip.segment.recording == clips[0].segment.recording]
    if len(first) == len(clips):
        return [[clip] for clip in clips]
    assert clips[: len(first)] == first, "the clips of a recording come together"
    return [first, clips[len(first) :]]


def out_of_memory(error: BaseException) -> bool:
    """Is it the machine's memory, or the accelerator's, that does not suffice?"""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def blamed(call: Callable[[], Any], recording: Recording, seconds: float = 0.0) -> Any:
    """What `call` returns; `Unusable` where the recording makes it raise."""
    try:
        return call()
    except BLAMED as error:
        why = "memory: not enough for this recording" if out_of_memory(error) else sentence(error)
        return Unusable(recording=recording, reason=f"failed:{why}", seconds=seconds)


def sentence(error: BaseException) -> str:
    """`error: ValueError: what it says`, on one line and not too long."""
    return f"error: {type(error).__name__}: {' '.join(str(error).split())}"[:300]
