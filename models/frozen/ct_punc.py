"""CT-Transformer: sets commas, stops and question marks in texts without any; from a FunASR folder on this machine."""

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from models.frozen import fingerprint_of
from models.frozen.funasr import BETWEEN_HAN, folder_of, load, quiet

FIX = "put a FunASR ct-punc folder there (config.yaml, model.pt, tokens.json), or set punctuate: rules"
HAN = re.compile("[\u3400-\u9fff]")
WIDE_AFTER_LATIN = re.compile(rf"(?<=\w)(?<!{HAN.pattern})[，。？、]")
NARROW = {"，": ", ", "、": ", ", "。": ". ", "？": "? "}
AFTER_WIDE = re.compile(r"(?<=[，。？、])\s+")


class CtPunc:
    """Mandarin and English. It only adds marks and capitals: every letter, capital and space of the text comes back.

    FunASR's own text has fewer: it makes NASA Nasa, and takes a letter beyond ASCII for a word, so that the next one is
    joined to it (`caféis`) and a mark can fall into it (`caf,é`).
    """

    NAME = "ct_punc"

    def __init__(self, checkpoint: Path, *, device: str = "cpu") -> None:
        """Raises: WeightsError where there is no model folder."""
        self.path = folder_of(checkpoint, what="ct-punc", fix=FIX)
        self.device = device

    @property
    def fingerprint(self) -> str:
        """Version and all files of the folder."""
        return fingerprint_of("ct_punc", package="funasr", weights=[self.path])

    def __call__(self, text: str) -> str:
        """The text with marks; as it is where it has no letter."""
        if not any(c.isalnum() for c in text):
            return text
        text = BETWEEN_HAN.sub("", " ".join(text.split()))
        with quiet():
            found = self._model.generate(input=[text], key=["text"])
        marked = WIDE_AFTER_LATIN.sub(lambda mark: NARROW[mark.group()], carried_over(str(found[0]["text"]), text))
        return " ".join(AFTER_WIDE.sub("", marked).split())

    @cached_property
    def _model(self) -> Any:
        return load(self.path, kind="CTTransformer", device=self.device, fix=FIX)


def carried_over(marked: str, text: str) -> str:
    """`text` with the marks and capitals of `marked`, the same letters with other spaces, some of them smaller.

    A mark inside a word of letters is left out.
    """
    made, left = "", text
    for c in marked.replace(" ", ""):
        ours = left.lstrip()
        if ours[:1].lower() == c.lower():
            made += left[: len(left) - len(ours)] + (c if c.isupper() else ours[0])
            left = ours[1:]
        elif left == "" or left[0].isspace() or HAN.match(left[0]) or HAN.match(made[-1:]):
            made += c
    return made + left
