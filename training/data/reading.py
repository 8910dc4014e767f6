"""The samples of a micro-batch, read; without sound where the objective does not need it."""

from collections.abc import Callable, Sequence

from training.data.batching import Pick
from training.data.collate import PATCH, RATE_HZ, Utterance, collate
from training.data.draw import Draw
from training.data.stream import Source
from training.objectives import Batch

Hears = Callable[[Utterance, Draw], bool]
"""Does the objective need the sound of this utterance, whose stored latents are there, at this step?"""


def read_batch(
    sources: Sequence[Source],
    picks: Sequence[Pick],
    *,
    max_clip_seconds: float,
    seed: int,
    step: int,
    hears: Hears | None = None,
) -> Batch:
    """Read and collate the samples. With `hears`, a FLAC that nobody needs is not decoded."""
    longest = int(max_clip_seconds * RATE_HZ) // PATCH * PATCH

    def read(pick: Pick) -> Utterance:
        source = sources[pick.part]
        if hears is not None and source.latents:
            one = source.read(pick.number, wave=False)
            if 0 < one.stored_samples <= longest and not hears(one, Draw(seed, step, [one.key])):
                return one
        return source.read(pick.number)

    utterances = [read(pick) for pick in picks]
    draw = Draw(seed, step, [one.key for one in utterances])
    return collate(utterances, max_clip_seconds=max_clip_seconds, draw=draw)
