"""Text that comes in parts, as token ids that do not change any more: the parts may be cut anywhere.

Byte-pair tokens never cross the pieces that the tokenizer's pattern cuts a text into, so ids are final as soon as
their piece is. A piece is final once another one that is not blank has begun behind it: a pattern looks at no more
than the sign behind a match, and at blanks as far as they go. The last signs may still be composed with accents that
follow (NFC), so the piece that the last sign that stands alone lies in is never final either.
"""

import unicodedata
from typing import TYPE_CHECKING

from models.text.tokens import piece_ids, pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VOWELS_AND_FINALS = range(0x1160, 0x1200)
"""Hangul letters that are composed with the one before them."""


class Increments:
    """The token ids of a text, a part at a time; all together they are those of the whole text."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.backend = tokenizer.backend_tokenizer
        self.composes = self.backend.normalizer is not None
        self.known = not self.composes or type(self.backend.normalizer).__name__ == "NFC"
        """Whether we know what the normalizer does; otherwise nothing is final before the end."""
        self.normal, self.tail = "", ""
        """What is not final: normalized, and as it came from the last sign on that stands alone."""

    def push(self, text: str) -> list[int]:
        """The ids that have become final."""
        self.tail += text
        if not self.known or self.backend.pre_tokenizer is None:
            return []
        place = last_alone(self.tail)
        self.normal += self.normalized(self.tail[:place])
        self.tail = self.tail[place:]
        return self.read(final=False)

    def finish(self) -> list[int]:
        """The ids of what is left; the text is over, and another one may begin."""
        ids = self.read(final=True)
        self.normal, self.tail = "", ""
        return ids

    def read(self, *, final: bool) -> list[int]:
        """Ids of the pieces that are final, which are then forgotten."""
        text = self.normal + self.normalized(self.tail)
        found = pieces(self.backend, text)
        cut = len(found)
        if not final:
            cut = 0
            for number, (_, start, end) in enumerate(found):
                if start <= len(self.normal) and text[start:end].strip():
                    cut = number
        ids = [token for piece, _, _ in found[:cut] for token in piece_ids(self.backend, piece)]
        if cut < len(found):
            self.normal = self.normal[found[cut][1] :]
        return ids

    def normalized(self, text: str) -> str:
        """The text as the tokenizer's pattern sees it."""
        return str(self.backend.normalizer.normalize_str(text)) if self.composes and text else text


def last_alone(text: str) -> int:
    """Where the last sign begins that no sign before it is composed with; 0 where there is none."""
    for place in range(len(text) - 1, 0, -1):
        sign = text[place]
        joins = unicodedata.category(sign)[0] == "M" or unicodedata.combining(sign) or ord(sign) in VOWELS_AND_FINALS
        if not joins:
            return place
    return 0
