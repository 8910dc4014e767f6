"""Did the speech end by itself, and how long is it?"""

from collections.abc import Sequence

from infra.manifest import Manifest
from pipelines.evaluation.metrics import Column, Score, Utterance


class Config(Manifest):
    """Nothing to set."""


def measure(utterances: Sequence[Utterance], cfg: Config) -> list[Column]:
    told = [(stopped(utterance), seconds(utterance), rate(utterance)) for utterance in utterances]
    ends, lengths, rates = ([row[column] for row in told] for column in range(3))
    return [
        Column("stopped", ends, "higher", "share that the stop head ended; the rest was cut at the stated maximum"),
        Column("seconds", lengths, "neither", "duration of what was made", unit="s"),
        Column("characters_per_second", rates, "neither", "written characters (spaces left out) a second of speech"),
    ]


def stopped(utterance: Utterance) -> Score:
    """1 where the stop head ended it."""
    if utterance.wave_S is None:
        return utterance.problem or "missing"
    return "no stop head was asked" if utterance.finish is None else float(utterance.finish == "stop")


def seconds(utterance: Utterance) -> Score:
    """Duration."""
    return utterance.problem or "missing" if utterance.seconds is None else utterance.seconds


def rate(utterance: Utterance) -> Score:
    """Speaking rate, from the whole duration."""
    if not utterance.seconds:
        return utterance.problem or "missing"
    if utterance.text is None:
        return "text unknown"
    return len(utterance.text.replace(" ", "")) / utterance.seconds
