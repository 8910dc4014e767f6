"""Word error rate by the rules of Seed-TTS-Eval (run_wer.py): the mean over utterances, not the pooled rate."""

import string
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import field_validator

from infra.manifest import Device, Manifest
from models.text.language import language_tag
from pipelines.evaluation.metrics import Column, Score, Utterance, backend
from pipelines.hearing.texts import converted
from pipelines.transforms.transcribe import Recognizer, require_recognizer

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
BY_CHARACTER = ("zh", "yue", "ja", "th", "lo", "my", "km", "bo")
"""Languages written without spaces between words: their rate counts characters."""
PUBLISHED = ("en", "zh")
"""Languages that Seed-TTS-Eval has. In others, for which published tables name no rule, characters are compared in one
form (NFKC), and the marks and symbols of all scripts are deleted, not only those of these two."""
ENGLISH_ONLY = ("moonshine", "pocketsphinx")
TOGETHER = 32
"""Utterances that a recognizer is given at once."""


class Config(Manifest):
    routes: dict[str, str] = {"en": "moonshine"}
    """Language -> recognizer (a file of models/frozen); `other` stands for every language that is not named. Moonshine
    comes in a wheel. Published tables hear English by Whisper large-v3 and Mandarin by Paraformer:
    `{zh: paraformer, other: whisper}`."""
    checkpoints: dict[str, Path] = {}
    """Recognizer -> where its weights lie, for those that come without."""
    device: Device = "cpu"

    @field_validator("routes")
    @classmethod
    def known(cls, routes: dict[str, str]) -> dict[str, str]:
        """Every name is a recognizer in models/frozen, and hears the language of its route."""
        for language, name in routes.items():
            if language != "other" and language != code_of(language):
                raise ValueError(f"{language!r} is no language code; did you mean {code_of(language)!r}?")
            require_recognizer(name)
            if name in ENGLISH_ONLY and language != "en":
                raise ValueError(f"{name} hears English only, and is asked for {language}")
        return routes


def measure(utterances: Sequence[Utterance], cfg: Config) -> list[Column]:
    names = sorted(set(cfg.routes.values()))
    ears = {name: backend(name, "recognizer", cfg.checkpoints.get(name), cfg.device) for name in names}
    return [column(ears, cfg.routes, utterances)]


def column(ears: Mapping[str, Recognizer], routes: Mapping[str, str], utterances: Sequence[Utterance]) -> Column:
    """The rate of every utterance by the recognizer of its language."""
    who = ", ".join(f"{name} ({ears[name].fingerprint})" for name in ears)
    how = (
        f"Seed-TTS-Eval's rule (mean over utterances; characters for {', '.join(BY_CHARACTER)}; apostrophes kept; "
        f"Chinese compared in simplified characters; numbers as they are written; in languages that it does not have, "
        "NFKC, and the punctuation and symbols of all scripts left out), "
        f"heard by {who}: its own mistakes are in the number"
    )
    scores: list[Score] = [""] * len(utterances)
    notes = [""] * len(utterances)
    heard_by: dict[str, list[int]] = {name: [] for name in ears}
    texts, languages = list[str](), list[str]()
    for number, utterance in enumerate(utterances):
        texts.append(utterance.text or "")
        languages.append(language := code_of(utterance.language))
        name = route_of(routes, language)
        if utterance.wave_S is None or not len(utterance.wave_S):
            scores[number] = utterance.problem or "missing or empty"
        elif not utterance.text:
            scores[number] = "text unknown"
        elif name is None:
            scores[number] = f"nobody hears {language or 'an unknown language'}"
        else:
            heard_by[name].append(number)
    for name, numbers in heard_by.items():
        for first in range(0, len(numbers), TOGETHER):
            some = numbers[first : first + TOGETHER]
            waves = [wave_S for number in some if (wave_S := utterances[number].at(ears[name].RATE_HZ)) is not None]
            heard = ears[name](waves, [languages[number] for number in some])
            for number, found in zip(some, heard, strict=True):
                scores[number] = error_rate(found.text, texts[number], language=languages[number])
                notes[number] = found.text
    return Column("wer", scores, "lower", how, notes=notes, by="_".join(ears))


def route_of(routes: Mapping[str, str], language: str) -> str | None:
    """Who hears a language; None where nobody does."""
    return routes.get(language) or (routes.get("other") if language else None)


def code_of(language: str | None) -> str:
    """`zh` of `zh-CN`, `cmn` and `Chinese`; what is no language stays as it is, and empty is unknown."""
    try:
        return (language_tag(language) or "").lower()
    except ValueError:
        return (language or "").lower()


def error_rate(heard: str, said: str, *, language: str) -> Score:
    """(substitutions + deletions + insertions) / words of what should be said."""
    from jiwer import process_words

    if language in ("zh", "yue"):
        heard, said = converted(heard, to="simplified"), converted(said, to="simplified")
    reference, hypothesis = normalized(said, language=language), normalized(heard, language=language)
    if not reference.strip():
        return "nothing but punctuation to say"
    return float(process_words(reference, hypothesis).wer)


def normalized(text: str, *, language: str) -> str:
    """Punctuation deleted (apostrophes stay), double spaces made single; characters apart, or lower case."""
    if language not in PUBLISHED:
        text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
        text = "".join(char for char in text if char == "'" or unicodedata.category(char)[0] not in "PS")
    plain = text.translate(DELETED).replace("  ", " ")
    if language in BY_CHARACTER:
        return " ".join(plain)
    return plain.lower()
