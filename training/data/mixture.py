"""What share of the audio each corpus of a mixture gives: by weight, by a power of hours, under a cap on repeats."""

from collections.abc import Sequence

from training.data.stream import DataError, Source
from training.manifest import Data


def shares(sources: Sequence[Source], data: Data, *, steps: int) -> list[float]:
    """Share of the seconds that each part gives; they sum to 1.

    A share is `weight`, times hours ** `hours_power` where that is set. A part whose share would repeat it more often
    than `max_epochs` over the stage gives only so much, and the others the rest, in proportion.

    Raises: DataError when all parts together do not hold enough audio under that cap.
    """
    hours = [source.seconds / 3600 for source in sources]
    power = data.hours_power or 0.0
    weights = [source.weight * (have**power if power else 1.0) for source, have in zip(sources, hours, strict=True)]
    if data.max_epochs is None:
        return [weight / sum(weights) for weight in weights]
    asked = steps * data.seconds_per_step / 3600
    most = [data.max_epochs * have / asked for have in hours]
    if sum(most) < 1:
        raise DataError(
            f"the stage asks for {asked:,.1f} h of audio, but {sum(hours):,.1f} h at most {data.max_epochs:g} times "
            f"are {data.max_epochs * sum(hours):,.1f} h; take fewer steps, more data, or a higher data.max_epochs"
        )
    return capped(weights, most)


def capped(weights: Sequence[float], most: Sequence[float]) -> list[float]:
    """Shares in proportion to `weights`, none above its `most`; `most` sums to 1 or more."""
    full: set[int] = set()
    while True:
        left = 1 - sum(most[number] for number in full)
        free = sum(weight for number, weight in enumerate(weights) if number not in full)
        found = [most[n] if n in full else left * weight / free for n, weight in enumerate(weights)]
        over = {number for number, share in enumerate(found) if share > most[number]} - full
        if not over:
            return found
        full |= over
