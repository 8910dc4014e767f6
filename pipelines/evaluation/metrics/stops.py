"""Did the speech end by itself, and how long is it?"""

from collections.abc import Sequence

from infra.manifest import Manifest
from pipelines.evaluation.metrics import Column, Utterance


class Config(Manifest):
    """Nothing to set."""


def measure(utterances: Sequence[Utterance], cfg: Config) -> list[Column]:
    stopped = [
        (u.problem or "missing")
        if u.wave_S is None
        else "no stop head was asked"
        if u.finish is None
        else float(u.finish == "stop")
        for u in utterances
    ]
    seconds = [u.seconds if u.seconds is not None else u.problem or "missing" for u in utterances]
    rates = [rate(u) for u in utterances]
    return [
        Column("stopped", stopped, "higher", "share that the stop head ended; the rest was cut at the stated maximum"),
        Column("seconds", seconds, "neither", "duration of what was made", unit="s"),
        Column("characters_per_second", rates, "neither", "written characters (spaces left out) a second of speech"),
    ]


def rate(utterance: Utterance) -> float | str:
    """Speaking rate, from the whole duration."""
    if not utterance.seconds:
        return utterance.problem or "missing"
    if utterance.text is None:
        return "text unknown"
    return len(utterance.text.replace(" ", "")) / utterance.seconds
