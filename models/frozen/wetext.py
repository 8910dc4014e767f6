"""WeTextProcessing: numbers, dates and units in words, by the grammars in its wheel; Mandarin and English."""

import logging
import re
from functools import cached_property
from typing import Any

from models.frozen import fingerprint_of, wheel_file

LANGUAGES = ("zh", "en")
MANDARIN_NUMBER = re.compile(
    r"(?:(?<![\da-zA-Z+-])[-+])?[$¥€£]?\d[\da-zA-Z.,:/%$¥€£℃°年月日号时点分秒~+×÷=-]*[\u4e00-\u9fff]?"
)
"""A number with its sign, date, time or unit, and those that it is reckoned with; and the character behind it: "2个" is
not read as "2" is."""


class Normalizer:
    """Grammars as finite-state transducers: the same text for the same text, no network."""

    NAME = "wetext"

    def __init__(self) -> None:
        self.paths = [
            wheel_file("tn", f"{name}_tn_{part}.fst") for name in LANGUAGES for part in ("tagger", "verbalizer")
        ]

    @property
    def fingerprint(self) -> str:
        """Version and grammars."""
        return fingerprint_of("wetext", package="WeTextProcessing", weights=self.paths)

    def __call__(self, text: str, *, language: str) -> str:
        """The text with its numbers spelled out; as it is where there is no digit in it.

        The Mandarin grammar also drops interjections, which are spoken: it sees the numbers alone.
        """
        if not any(c.isdigit() for c in text):
            return text
        if language == "zh":
            return MANDARIN_NUMBER.sub(lambda number: str(self._grammars["zh"].normalize(number.group())), text)
        return str(self._grammars[language].normalize(" ".join(text.split())))  # a tab at its beginning is an error

    @cached_property
    def _grammars(self) -> dict[str, Any]:
        from tn.chinese.normalizer import Normalizer as Chinese
        from tn.english.normalizer import Normalizer as English

        logging.getLogger("wetext").setLevel(logging.ERROR)
        return {"zh": Chinese(), "en": English()}
