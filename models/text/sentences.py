"""Cut a long text where a reader would breathe: at the ends of sentences, else at commas, else between words."""

import re

LONGEST = 200
"""Characters of a piece; the makers of dots.tts advise against more, since memory and mistakes grow with it."""
SHORTEST = 12
"""Pieces shorter than this are spoken badly, and join the piece before them."""

SENTENCE = re.compile(
    r"""\s*(?:
        .*?(?:
            [\u3002\uff01\uff1f\uff1b\u2026!?]+[\"'\u201d\u2019\u300d\u300f\uff09)\]]*    # ends that need no blank
          | (?<!\b[A-Z])(?<!\b(?:Mr|Ms|Dr|St|vs|No))(?<!\b(?:Mrs|etc|e\.g|i\.e|Fig))(?<!\bProf)
            [.;]+[\"'\u201d\u2019)\]]*(?=\s|$)                                            # ends that do
          | \n+ | $
        )
    )""",
    re.VERBOSE | re.DOTALL,
)
CLAUSE = re.compile(r"[\uff0c\u3001\uff1a,:\u2014\u2013](?=\s|[^\x00-\x7f]|$)|[\u2014\u2013]")


def split(text: str, *, longest: int = LONGEST) -> list[str]:
    """Pieces of at most `longest` characters (a few more where the rest is very short), whole sentences if it can be.

    Joined, the pieces hold every character of the text but blanks at their edges.
    """
    found: list[str] = []
    for sentence in (match.group() for match in SENTENCE.finditer(text)):
        for piece in fitting(sentence.strip(), longest=longest):
            spare = min(SHORTEST, longest // 10) if len(piece) < SHORTEST else 0
            if found and len(found[-1]) + 1 + len(piece) <= longest + spare:
                found[-1] += joint(found[-1], piece) + piece
            else:
                found.append(piece)
    return found


def fitting(sentence: str, *, longest: int) -> list[str]:
    """One sentence in pieces that are not too long."""
    pieces = []
    while len(sentence) > longest:
        place = last_place(sentence, longest=longest)
        pieces.append(sentence[:place].strip())
        sentence = sentence[place:].strip()
    return [*pieces, sentence] if sentence else pieces


def last_place(sentence: str, *, longest: int) -> int:
    """Where to cut a sentence that is too long: behind a comma, else at a blank, else wherever it must be."""
    head = sentence[:longest]
    clauses = [match.end() for match in CLAUSE.finditer(head) if match.end() >= longest // 3]
    blanks = [match.end() for match in re.finditer(r"\s", head) if match.end() >= longest // 3]
    return clauses[-1] if clauses else blanks[-1] if blanks else longest


def joint(before: str, after: str) -> str:
    """What stands between two sentences: a blank, but not in scripts that have none."""
    wide = "\u2e80" <= before[-1] <= "\uffef" and "\u2e80" <= after[0] <= "\uffef"
    return "" if wide else " "
