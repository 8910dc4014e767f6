"""What a row of a table says of a recording, under whichever name; and what of it can be believed."""

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from models.text.language import language_tag
from pipelines.reading.inside import BIDI, printable
from pipelines.row import Recording

COLUMNS = {
    "file": ("file", "path", "audio", "audio_filepath", "audio_path", "file_name", "filename", "wav", "wav_path", "id"),
    "text": ("transcript", "transcription", "text", "sentence", "label", "normalized_text"),
    "language": ("language", "lang", "locale", "language_code"),
    "speaker": ("speaker", "speaker_id", "speaker_name", "spk", "client_id"),
    "emotion": ("emotion", "emotion_label"),
    "license": ("license", "licence", "license_clip", "licence_clip"),
    "source": ("source", "url", "source_url", "repo"),
    "split": ("split", "subset", "set", "partition"),
    "seconds": ("duration", "duration_seconds", "seconds"),
}
"""What a recording wants to know -> columns that tell it, best first; letter case does not matter."""
NOTHING = {"", "not stated", "n/a", "none", "null", "unknown", "-"}
LONGEST_TEXT = 100_000
"""Characters of a transcript: two hours of speech have about so many."""
LONGEST_EXTRA = 2000
MOST_SECONDS = 1e6
THREE_LETTERS = {
    "afr": "af", "aka": "ak", "amh": "am", "asm": "as", "aze": "az", "bel": "be", "bod": "bo", "bos": "bs", "cym": "cy",
    "eus": "eu", "ewe": "ee", "fil": "fil", "ful": "ff", "gle": "ga", "glg": "gl", "guj": "gu", "hau": "ha",
    "hye": "hy", "ibo": "ig", "jav": "jv", "kan": "kn", "kas": "ks", "kat": "ka", "kaz": "kk", "khm": "km", "kik": "ki",
    "kir": "ky", "lao": "lo", "lin": "ln", "lug": "lg", "mal": "ml", "mar": "mr", "mkd": "mk", "mlg": "mg", "mlt": "mt",
    "mon": "mn", "mya": "my", "nep": "ne", "ori": "or", "orm": "om", "ory": "or", "pan": "pa", "pus": "ps", "san": "sa",
    "sin": "si", "sna": "sn", "snd": "sd", "som": "so", "sqi": "sq", "tgk": "tg", "tir": "ti", "twi": "tw", "uzb": "uz",
    "wol": "wo", "xho": "xh", "yor": "yo", "zul": "zu",
}  # fmt: skip
"""ISO 639-3 -> 639-1, for those that `models.text.language` keeps as they are."""
FOUR_LETTERS = re.compile(r"[A-Z]{4,}")
"""No language has such a code, but folders are called so."""
EVALUATION = re.compile(
    r"(dev|devel|development|val|valid|validation|test|testing|eval|evaluation)([-_./ \d].*)?", re.I
)
KEPT_FORMAT = frozenset("\u200c\u200d")
"""Joiners: Persian, the scripts of India and emoji are written with them."""


def lowered(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The row with its columns in lower case."""
    return {str(key).strip().lower(): value for key, value in row.items() if key is not None}


def tell(row: Mapping[str, Any], what: str) -> str | None:
    """What the row says of `what`, under whichever name, in one line; None where it says nothing."""
    for column in COLUMNS[what]:
        value = row.get(column)
        if isinstance(value, int) and not isinstance(value, bool) and what == "speaker":
            value = str(value)
        if isinstance(value, str) and value.strip().lower() not in (NOTHING if what != "text" else {""}):
            return " ".join(value.split())
    return None


def spent(row: Mapping[str, Any]) -> set[str]:
    """Columns that have become fields of the recording: in each group, the one that spoke."""
    return {
        next((column for column in columns if row.get(column) is not None and str(row[column]).strip()), "")
        for columns in COLUMNS.values()
    }


def recording(
    row: Mapping[str, Any], *, uri: str, name: str, size: int, text: str | bytes | None = None, **facts: Any
) -> Recording:
    """The recording at `uri`, with what a row says of it, its columns in lower case; `facts` and `text` come first."""
    words, why = transcript(text if text is not None else tell(row, "text"))
    used = spent(row)
    extra = {key: value for key, value in row.items() if key not in used and kept(value)}
    if why:
        extra["text_fault"] = why
    known: dict[str, Any] = {
        "text": words,
        "language": code_of(tell(row, "language")),
        "speaker": encodable(tell(row, "speaker")),
        "emotion": (encodable(tell(row, "emotion")) or "").lower() or None,
        "license": encodable(tell(row, "license")) or "unknown",
        "source": encodable(tell(row, "source")) or "",
        "split": encodable(tell(row, "split")),
        "seconds": seconds_of(row),
    }
    known |= {key: value for key, value in facts.items() if value is not None}
    known["extra"] = {**extra, **facts.get("extra", {})}
    known.setdefault("evaluation", is_evaluation(known["split"]))
    return Recording(uri=uri, name=printable(name), bytes=size, **known)


def transcript(text: str | bytes | None) -> tuple[str | None, str | None]:
    """A transcript as one line that can be written anywhere; or none, and why what there was cannot be one."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None, "the transcript is not UTF-8"
    if text is None:
        return None, None
    if len(text) > LONGEST_TEXT:
        return None, f"the transcript has {len(text)} characters"
    if text.isprintable():
        return " ".join(text.split()) or None, None
    kinds = ((char, unicodedata.category(char)) for char in text)
    kept = "".join(
        " " if kind in ("Cc", "Zl", "Zp") else char
        for char, kind in kinds
        if kind not in ("Cs", "Cn", "Co") and (kind != "Cf" or char in KEPT_FORMAT)
    )
    return " ".join(kept.split()) or None, None


def code_of(language: str | None) -> str | None:
    """ISO 639-1 (or 639-3) code in lower case, of a code or an English name; what is neither (`data`), is nothing."""
    try:
        tag = language_tag(language)
    except ValueError:
        return None
    return None if tag is None or FOUR_LETTERS.fullmatch(tag) else THREE_LETTERS.get(tag.lower(), tag.lower())


def seconds_of(row: Mapping[str, Any]) -> float | None:
    """A duration that can be one."""
    for column in COLUMNS["seconds"]:
        value = row.get(column)
        try:
            seconds = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
        except ValueError:
            continue
        if 0 < seconds < MOST_SECONDS:
            return seconds
    return None


def is_evaluation(split: str | None) -> bool:
    """Is this part of a corpus, by its name, made for measuring models?"""
    return split is not None and EVALUATION.fullmatch(split) is not None


def kept(value: Any) -> bool:
    """Small plain values alone travel with a recording."""
    if isinstance(value, str):
        return bool(value) and len(value) <= LONGEST_EXTRA and encodable(value) == value
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def encodable(text: str | None) -> str | None:
    """The text without halves of characters, direction marks and control characters."""
    if text is None or text.isprintable():
        return text or None
    marks = ("Cc", "Cs")
    return "".join(char for char in text if unicodedata.category(char) not in marks and char not in BIDI) or None
