"""Written text as it is spoken, and the language of a text, by the libraries that the official runtime uses.

WeTextProcessing writes out numbers, dates, units and signs of Mandarin and English; lingua tells 75 languages apart
(1 GB of memory, some seconds at the first call). Both are loaded when they are asked for, and not before.
"""

import logging
from functools import cache
from typing import Any

AUTOMATIC = "auto_detect"
"""What stands for the language of the text itself, in letters of either case."""


class TextError(ValueError):
    """A library that is asked for and is not installed. The message is a sentence."""


def is_automatic(language: str | None) -> bool:
    """Whether the language of the text itself is asked for."""
    return language is not None and language.strip().lower() == AUTOMATIC


def normalized(text: str) -> str:
    """Mandarin and English text with numbers and signs in words, blanks collapsed; other languages as they are.

    Raises: TextError where a library is missing.
    """
    language = detected(text)
    if language not in ("zh", "en"):
        return text.strip()
    return " ".join(str(grammar(language).normalize(text.strip())).split())


def detected(text: str) -> str | None:
    """The language of a text: an ISO 639-1 code, or 639-3 where there is none; None for a text without one.

    Raises: TextError where a library is missing.
    """
    found = detector().detect_language_of(text.strip()) if text.strip() else None
    if found is None:
        return None
    code = found.iso_code_639_1 or found.iso_code_639_3
    return str(code.name).lower()


@cache
def detector() -> Any:
    """Of all languages that lingua knows."""
    try:
        from lingua import LanguageDetectorBuilder
    except ImportError:
        raise TextError(missing("lingua-language-detector", "tell the language of a text")) from None
    return LanguageDetectorBuilder.from_all_languages().build()


@cache
def grammar(language: str) -> Any:
    """The grammars of one language."""
    try:
        from tn.chinese.normalizer import Normalizer as Mandarin
        from tn.english.normalizer import Normalizer as English
    except ImportError:
        raise TextError(missing("WeTextProcessing", "write numbers out")) from None
    logging.getLogger("wetext").setLevel(logging.ERROR)
    return Mandarin() if language == "zh" else English()


def missing(package: str, what: str) -> str:
    """How to get it."""
    return f"{package} is needed to {what}, and is not installed: pip install {package}, or leave that option out"
