"""Which samples of a corpus an evaluation takes, and what it knows of each."""

import hashlib
from typing import Any

from infra.workflow.node import Refused
from pipelines.evaluation.manifest import Choice
from pipelines.shards import Corpus


def choose(corpus: Corpus, choice: Choice, *, seed: int, with_text: bool = False) -> list[int]:
    """Numbers of the chosen samples: within the lengths, in an order drawn by the seed, one of each voice before a
    second of any.

    Raises: Refused where none fits.
    """
    table = corpus.rows.columns("key", "seconds", "text_tts", "text", "given_speaker", "recording", "speaker")
    rows = table.to_pylist()

    def draw(number: int) -> str:
        return hashlib.sha256(f"{seed}:{rows[number]['key']}".encode()).hexdigest()

    fit = [
        number
        for number, row in enumerate(rows)
        if choice.min_seconds <= row["seconds"] <= choice.max_seconds and (not with_text or text_of(row))
    ]
    if not fit:
        raise Refused(
            f"the corpus {corpus.name} has no utterance of {choice.min_seconds:g} to {choice.max_seconds:g} s"
            f"{' with a text' if with_text else ''}; widen min_seconds and max_seconds in the evaluation's manifest"
        )
    taken: dict[str, int] = {}
    drawn: list[tuple[int, int, int]] = []
    """How many of its voice come before it, its place in the order, its number."""
    for place, number in enumerate(sorted(fit, key=draw)):
        voice = voice_of(rows[number])
        drawn.append((taken.get(voice, 0), place, number))
        taken[voice] = taken.get(voice, 0) + 1
    return [number for _, _, number in sorted(drawn)[: choice.utterances]]


def voice_of(row: dict[str, Any]) -> str:
    """Who speaks in a sample, as far as the corpus knows: a speaker, or one of the voices of a recording."""
    return str(row.get("given_speaker") or f"{row['recording']}, {row.get('speaker') or 'one voice'}")


def text_of(row: dict[str, Any]) -> str | None:
    """What is spoken in a sample, as models are given it."""
    return row.get("text_tts") or row.get("text")
