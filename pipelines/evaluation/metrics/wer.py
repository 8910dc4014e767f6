"""Word error rate by the rules of Seed-TTS-Eval (run_wer.py): the mean over utterances, not the pooled rate."""

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from infra.manifest import Manifest
from pipelines.evaluation.metrics import Column, Score, Utterance, Wave

HANZI = (
    "\uff02\uff03\uff04\uff05\uff06\uff07\uff08\uff09\uff0a\uff0b\uff0c\uff0d\uff0f\uff1a\uff1b\uff1c\uff1d\uff1e\uff20"
    "\uff3b\uff3c\uff3d\uff3e\uff3f\uff40\uff5b\uff5c\uff5d\uff5e\uff5f\uff60\uff62\uff63\uff64\u3000\u3001\u3003\u3008"
    "\u3009\u300a\u300b\u300c\u300d\u300e\u300f\u3010\u3011\u3014\u3015\u3016\u3017\u3018\u3019\u301a\u301b\u301c\u301d"
    "\u301e\u301f\u3030\u303e\u303f\u2013\u2014\u2018\u2019\u201b\u201c\u201d\u201e\u201f\u2026\u2027\ufe4f\ufe51\ufe54"
    "\u00b7\uff0e\uff01\uff1f\uff61\u3002"
)
"""Chinese punctuation, the characters of zhon.hanzi.punctuation (2.1.1)."""
DELETED = str.maketrans("", "", (HANZI + string.punctuation).replace("'", ""))
"""Every punctuation mark but the apostrophe."""
BY_CHARACTER = ("zh", "yue", "ja", "th")
"""Languages written without spaces between words: their rate counts characters."""


@dataclass(frozen=True)
class Recognizer:
    """Ears: a file of models/frozen, or anything that hears."""

    name: str
    fingerprint: str
    rate_hz: int
    languages: Sequence[str]
    hear: Callable[[Wave], str]


class Config(Manifest):
    recognizer: Literal["moonshine", "pocketsphinx"] = "moonshine"
    """Those whose weights come in a wheel: English, and not Whisper large-v3, which published tables use."""


def measure(utterances: Sequence[Utterance], cfg: Config) -> list[Column]:
    from models.frozen.moonshine import Moonshine
    from models.frozen.pocketsphinx import PocketSphinx

    ears = Moonshine() if cfg.recognizer == "moonshine" else PocketSphinx()
    recognizer = Recognizer(
        name=cfg.recognizer,
        fingerprint=ears.fingerprint,
        rate_hz=ears.RATE_HZ,
        languages=ears.LANGUAGES,
        hear=lambda wave_S: ears([wave_S])[0].text,
    )
    return [column(recognizer, utterances)]


def column(recognizer: Recognizer, utterances: Sequence[Utterance]) -> Column:
    """The word error rate that one recognizer finds."""
    how = (
        f"Seed-TTS-Eval's rule (mean over utterances; characters for {', '.join(BY_CHARACTER)}; apostrophes kept), "
        f"heard by {recognizer.name} ({recognizer.fingerprint}): its own mistakes are in the number"
    )
    return Column("wer", [score(recognizer, utterance) for utterance in utterances], "lower", how)


def score(recognizer: Recognizer, utterance: Utterance) -> Score:
    """The rate of one utterance, or why it has none."""
    wave_S = utterance.at(recognizer.rate_hz)
    if wave_S is None:
        return utterance.problem or "missing"
    if not utterance.text:
        return "text unknown"
    language = (utterance.language or "").lower()
    if language not in recognizer.languages:
        return f"{recognizer.name} does not know {language or 'an unknown language'}"
    return error_rate(recognizer.hear(wave_S), utterance.text, language=language)


def error_rate(heard: str, said: str, *, language: str) -> Score:
    """(substitutions + deletions + insertions) / words of what should be said."""
    from jiwer import process_words

    reference, hypothesis = normalized(said, language=language), normalized(heard, language=language)
    if not reference.strip():
        return "nothing but punctuation to say"
    return float(process_words(reference, hypothesis).wer)


def normalized(text: str, *, language: str) -> str:
    """Punctuation deleted (apostrophes stay), double spaces made single; characters apart, or lower case."""
    plain = text.translate(DELETED).replace("  ", " ")
    if language in BY_CHARACTER:
        return " ".join(plain)
    return plain.lower()
