"""Forms of a text beside the written one: for comparing (`text_norm`), for speaking (`text_tts`); by rules, or models.

`text_raw` and `text` stay as they are. Which rules and models made the forms is stored with them (`text_rules`).
"""

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from infra.manifest import Manifest
from models.frozen.ct_punc import CtPunc
from models.frozen.wetext import LANGUAGES as NORMALIZED
from pipelines.clip import Clip, Rejected
from pipelines.hearing import texts

SETS = ("text_norm", "text_tts", "text_rules")
READS: tuple[str, ...] = ("text", "language", "heard_language")
CHANGES_WAVE = False


class Config(Manifest):
    final_stop: bool = True
    """End every text with a full stop where it has no end mark: recognizers and many corpora leave it out."""
    sentence_case: bool = True
    """Bring texts that are all capitals, or have none, into sentence case."""
    punctuate: Literal["rules", "ct_punc"] = "rules"
    """Who sets marks in texts that have none. `ct_punc`, FunASR's CT-Transformer, knows Mandarin and English."""
    checkpoint: Path | None = None
    """The model folder of `ct_punc`."""
    device: str = "cpu"
    spell_out: bool = False
    """Write numbers, dates and units of Mandarin and English out in words in `text_tts` too (WeTextProcessing)."""
    chinese: Literal["simplified", "traditional"] | None = None
    """Bring Chinese into one script in `text_tts`; `text_norm` is in simplified characters in any case."""

    @model_validator(mode="after")
    def _weights(self) -> "Config":
        if self.punctuate == "ct_punc" and self.checkpoint is None:
            raise ValueError("punctuate: ct_punc needs checkpoint, the path of its model folder")
        return self


class Transform:
    """Sets the two forms of `text` and what made them; None where there is no text, or no letter in it."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.punctuator: CtPunc | None = None
        if cfg.punctuate == "ct_punc" and cfg.checkpoint is not None:
            self.punctuator = CtPunc(cfg.checkpoint, device=cfg.device)
        spells = [texts.normalizer()] if cfg.spell_out else []
        self.rules = "+".join([texts.RULES] + [model.NAME for model in (self.punctuator, *spells) if model is not None])
        asked = (texts.normalizer(), self.punctuator)
        self.fingerprint = "+".join(model.fingerprint for model in asked if model is not None)

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> Clip:
        """A clip with the forms of its text."""
        text = clip.segment.text
        language = clip.segment.language or clip.segment.heard_language
        if not text:
            return clip
        if self.cfg.spell_out and language in NORMALIZED:
            text = texts.spelled_out(text, language=language)
        norm = texts.norm_form(text, language=language)
        if self.punctuator is not None and language in ("zh", "en") and norm and not texts.is_punctuated(text):
            text = self.punctuator(text.lower() if text.isupper() else text)
        if self.cfg.chinese and language in ("zh", "yue"):
            text = texts.converted(text, to=self.cfg.chinese)
        spoken = texts.tts_form(
            text, language=language, sentence_case=self.cfg.sentence_case, final_stop=self.cfg.final_stop
        )
        return clip.with_(text_norm=norm or None, text_tts=spoken or None, text_rules=self.rules)
