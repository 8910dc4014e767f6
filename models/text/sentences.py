"""Cut a long text where a reader would breathe: at the ends of sentences, else at commas, else between words."""

import re
import unicodedata
from collections.abc import Iterator

LONGEST = 200
"""Characters of a piece; the makers of dots.tts advise against more, since memory and mistakes grow with it."""
SHORTEST = 12
"""Pieces shorter than this are spoken badly, and join the piece before them."""

SENTENCE = re.compile(
    r"""\s*(?:
        .*?(?:
            # ends that need no blank: Chinese and Japanese, then Devanagari, Urdu, Arabic, Ethiopic, Burmese, Armenian,
            # Khmer, Tibetan
            [\u3002\uff01\uff1f\uff1b\uff61\u2026\u0964\u0965\u06d4\u061f\u1362\u1367\u104b\u0589\u17d4\u17d5\u0f0d\u0f0e]+
            [\"'\u201d\u2019\u300d\u300f\uff09)\]]*(?:\s?\u00bb)?
          | # ends that do, or a sign that is not of ASCII
            [!?]+[\"'\u201d\u2019)\]]*(?:\s?\u00bb)?(?=\s|[^\x00-\x7f]|$)
          | # and that are none behind a single letter, the number of a day or an item, and a title
            (?<!\b[^\W\d_])(?<!\b\d)(?<!\b\d\d)
            (?<!\b(?:Mr|Ms|Dr|St|vs|No|Sr|Jr|Nr|ca))(?<!\b(?:Mrs|Mme|Sra|etc|e\.g|i\.e|Fig))(?<!\bProf)
            [.;\u037e]+[\"'\u201d\u2019)\]]*(?:\s?\u00bb)?(?=\s|$)
          | \n[^\S\n]*\n | $
        )
    )""",
    re.VERBOSE | re.DOTALL,
)
CLAUSE = re.compile(
    r"[\uff0c\u3001\uff64\uff1a,:\u060c\u061b\u1363\u1365\u104a\u2014\u2013](?=\s|[^\x00-\x7f]|$)|[\u2014\u2013]"
)
LINES = re.compile(r"[^\S\n]*\n\s*")
BLANK = re.compile(r"\s")
JOINER = "\u200d"
"""Makes one sign of the two around it."""


def split(text: str, *, longest: int = LONGEST) -> list[str]:
    """Pieces of at most `longest` characters (a few more where the rest is very short), whole sentences if it can be.

    Joined, the pieces hold every character of the text but blanks at their edges. Lines are joined within a piece.
    """
    found: list[str] = []
    end = 0
    for start, stop in spans(text, longest=longest):
        piece = LINES.sub(
            lambda match: joint(match.string[: match.start()], "\n", match.string[match.end() :]), text[start:stop]
        )
        between = joint(found[-1], text[end:start], piece) if found else ""
        spare = min(SHORTEST, longest // 10) if len(piece) < SHORTEST else 0
        if found and len(found[-1]) + len(between) + len(piece) <= longest + spare:
            found[-1] += between + piece
        else:
            found.append(piece)
        end = stop
    return found


def spans(text: str, *, longest: int) -> Iterator[tuple[int, int]]:
    """Where sentences, or parts of too long ones, start and end, blanks left out."""
    for match in SENTENCE.finditer(text):
        start, stop = match.span()
        while start < stop:
            rest = text[start:stop]
            place = len(rest) if len(rest.strip()) <= longest else last_place(rest.lstrip(), longest=longest)
            blank = len(rest) - len(rest.lstrip())
            part = rest[blank : blank + place].rstrip()
            if part:
                yield start + blank, start + blank + len(part)
            start += blank + place


def last_place(sentence: str, *, longest: int) -> int:
    """Where to cut a sentence that is too long: behind a comma, else at the end of a line, else at a blank, else
    wherever it must be, but not within a sign."""
    head = sentence[:longest]
    for kind in (CLAUSE, LINES, BLANK):
        if places := [match.end() for match in kind.finditer(head) if match.end() >= longest // 3]:
            return places[-1]
    place = longest
    while place > longest // 3 and within_sign(sentence, place):
        place -= 1
    return place if place > longest // 3 else longest


def within_sign(text: str, place: int) -> bool:
    """Whether what stands at a place belongs to the sign before it: an accent, a vowel mark, a joined emoji."""
    return unicodedata.category(text[place])[0] == "M" or JOINER in text[place - 1 : place + 1]


def joint(before: str, between: str, after: str) -> str:
    """What stands between two parts that are joined: what stood there; for lines a blank, or nothing in scripts that
    have none."""
    if "\n" not in between:
        return between
    wide = "\u2e80" <= before[-1:] <= "\uffef" and "\u2e80" <= after[:1] <= "\uffef"
    return "" if wide else " "
