"""CT-Transformer: sets commas, stops and question marks in texts without any; from a FunASR folder on this machine."""

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from models.frozen import fingerprint_of
from models.frozen.funasr import folder_of, load, quiet

FIX = "put a FunASR ct-punc folder there (config.yaml, model.pt, tokens.json), or set punctuate: rules"
ASCII_AFTER_LATIN = re.compile(r"(?<=[a-zA-Z0-9])([，。？、])")
NARROW = {"，": ", ", "、": ", ", "。": ". ", "？": "? "}


class CtPunc:
    """Mandarin and English. It only adds marks and capitals: every letter of the text comes back."""

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
        with quiet():
            found = self._model.generate(input=text, key=["text"])
        marked = ASCII_AFTER_LATIN.sub(lambda mark: NARROW[mark.group()], str(found[0]["text"]))
        return " ".join(marked.split())

    @cached_property
    def _model(self) -> Any:
        return load(self.path, device=self.device, fix=FIX)
