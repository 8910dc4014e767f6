"""Forms of a text, by rule: for comparing (`norm_form`) and for speaking (`tts_form`). The written one is kept beside.

`RULES` is stored with every text: change it with any rule below, so that old and new forms can be told apart.
"""

import html
import re
import unicodedata
from functools import cache
from typing import Any

from models.frozen.wetext import LANGUAGES as NORMALIZED
from models.frozen.wetext import Normalizer

RULES = "text/6"

HAN = "\u3400-\u9fff\uf900-\ufaff"
FULL_WIDTH_LANGUAGES = frozenset({"zh", "yue", "ja"})
FULL_WIDTH = "，。！？；：、（）《》「」『』～…"
WIDE = str.maketrans(",.!?;:", "，。！？；：")
SAME = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-", "\u200b": None, "\ufeff": None}
)
TAGS = re.compile(r"<\|[^|>]*\|>|</?[a-zA-Z][^<>]{0,80}>")
"""Marks that recognizers leave in their texts, such as `<|en|>`, and markup of transcripts: `<i>`, `<unk>`."""
ENTITIES = re.compile(r"&(#\d{1,7}|#x[0-9a-fA-F]{1,6}|[a-zA-Z]{2,8}\d?);")
ASIDES = re.compile(r"\[[^\[\]]{1,40}\]|\{[^{}]{1,40}\}")
"""What annotators note beside the words: `[laughter]`, `{breath}`."""
BETWEEN_HAN = re.compile(rf"(?<=[{HAN}])\s+(?=[{HAN}])")
NARROW_BESIDE_HAN = re.compile(rf"(?<=[{HAN}])\s*[,.!?;:](?=\s*[{HAN}]|\s*$)\s*")
STOPS = ".!?。！？…।॥؟۔։።፧፨။។៕།᱾᱿꯫"
"""Marks that end a sentence in some script (Unicode's Sentence_Terminal, those in use for what is spoken today)."""
PAUSES = ",;:，；：、،؛፣፤၊·՝-"
MARKS = frozenset(PAUSES[:-1] + STOPS)
FULL_STOPS = {
    **dict.fromkeys(FULL_WIDTH_LANGUAGES, "。"),
    **dict.fromkeys(("hi", "ne", "bn", "as", "or", "pa", "sa", "mai", "brx", "doi"), "।"),
    **dict.fromkeys(("ur", "ks"), "۔"), **dict.fromkeys(("am", "ti"), "።"), "my": "။", "km": "។", "hy": "։", "sat": "᱾",
    **dict.fromkeys(("th", "lo"), ""),
}  # fmt: skip
"""Language -> what ends its sentences, where that is not a dot; Thai and Lao have nothing there."""
CLOSING = "\"')]}»›」』）】"
FIRST_PERSON = re.compile(r"\bi\b(?!\.\w)")


def unmarked(text: str) -> str:
    """The text without marks of recognizers and markup, its entities (`&amp;`) written out, and no outer spaces."""
    return TAGS.sub(" ", ENTITIES.sub(lambda found: html.unescape(found.group()), text)).strip()


def norm_form(text: str, *, language: str | None = None) -> str:
    """For comparing texts: letters and digits of any script, lower case, one space between words.

    Recognizers differ in what they write, so English and Chinese are compared with numbers in words, and Chinese in
    simplified characters. What annotators note in brackets is not spoken, and left out.
    """
    text = ASIDES.sub(" ", unmarked(text))
    if language in NORMALIZED:
        text = spelled_out(text, language=language)
    folded = unicodedata.normalize("NFKC", text).lower().translate(SAME).replace("'", "")
    kept = " ".join("".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded).split())
    if language in ("zh", "yue"):
        kept = BETWEEN_HAN.sub("", converted(kept, to="simplified"))
    return kept


def tts_form(text: str, *, language: str | None, sentence_case: bool = True, final_stop: bool = True) -> str:
    """For speaking: one form for each character and space; full-width marks in Chinese and Japanese.

    `sentence_case` brings texts that are all capitals, or have none, into sentence case; `final_stop` ends every text
    with the full stop of its language where it has no end mark. Recognizers and many corpora leave both out.
    `[laughter]` stays: it is heard.
    """
    wide = language in FULL_WIDTH_LANGUAGES
    text = unmarked(text)
    text = "".join(c if wide and c in FULL_WIDTH else unicodedata.normalize("NFKC", c) for c in text)
    text = unicodedata.normalize("NFC", text)
    text = text.replace("…", "...") if not wide else text
    text = "".join(c for c in text.translate(SAME) if unicodedata.category(c) != "Cc" or c.isspace())
    text = re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split()))
    if wide:
        text = BETWEEN_HAN.sub("", NARROW_BESIDE_HAN.sub(lambda mark: mark.group().strip().translate(WIDE), text))
    if not any(c.isalnum() for c in text):
        return ""
    if sentence_case:
        text = in_sentence_case(text, language=language)
    ends = STOPS + ";" if language == "el" else STOPS  # Greek asks with it
    if final_stop and text.rstrip(CLOSING)[-1:] not in ends:
        text = text.rstrip(PAUSES) + FULL_STOPS.get(language or "", ".")
    return text


def in_sentence_case(text: str, *, language: str | None) -> str:
    """A text without small letters, or without capitals, with a capital at its beginning; all others as they are.

    So are those of a script without capitals: GPT in a Chinese sentence is written as it should be.
    """
    if not (text.isupper() and len(text) > 3) and not text.islower():
        return text
    letters = [c for c in text if c.isalpha()]
    if 2 * sum(c.lower() != c.upper() for c in letters) <= len(letters):
        return text
    text = text.lower()
    if language == "en":
        text = FIRST_PERSON.sub("I", text)
    first = next((at for at, c in enumerate(text) if c.isalpha()), 0)
    return text[:first] + text[first : first + 1].upper() + text[first + 1 :]


def is_punctuated(text: str) -> bool:
    """Whether there is a mark inside the text, or at its end."""
    return any(c in MARKS for c in text)


def spelled_out(text: str, *, language: str) -> str:
    """English or Chinese with numbers, dates and units in words (WeTextProcessing); the rest as it is."""
    return normalizer()(text, language=language) if any(c.isdigit() for c in text) else text


@cache
def normalizer() -> Normalizer:
    """WeTextProcessing's grammars, read once a process."""
    return Normalizer()


def converted(text: str, *, to: str) -> str:
    """Chinese in `simplified` or `traditional` characters (OpenCC)."""
    return str(converter(to).convert(text))


@cache
def converter(to: str) -> Any:
    """OpenCC's converter to a script, made once."""
    import opencc

    return opencc.OpenCC({"simplified": "t2s", "traditional": "s2t"}[to])
