"""Forms of a text: as written, for comparing (`norm`), for speaking (`tts`). The written one is never overwritten."""

import re
import unicodedata

from infra.manifest import Manifest
from pipelines.row import Clip, Rejected
from pipelines.transforms import fingerprint_of

SETS = ("text_tts",)
READS: tuple[str, ...] = ("text", "language")
CHANGES_WAVE = False

FULL_WIDTH = "，。！？；：、（）《》「」『』～…"
SAME = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-", "\u200b": None, "\ufeff": None}
)
TAGS = re.compile(r"<\|[^|>]*\|>")
"""Marks that recognizers leave in their texts, such as `<|en|>`."""
STOPS = ".!?。！？…"


class Config(Manifest):
    final_stop: bool = True
    """End every text with a full stop where it has no end mark: recognizers and many corpora leave it out."""
    sentence_case: bool = True
    """Bring texts that are all capitals into sentence case."""


def norm_form(text: str) -> str:
    """For comparing texts: letters and digits of any script, lower case, one space between words."""
    folded = unicodedata.normalize("NFKC", text).lower().translate(SAME).replace("'", "")
    return " ".join("".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded).split())


def tts_form(text: str, *, language: str | None, cfg: Config) -> str:
    """For speaking: one form for each character and space; full-width marks stay in Chinese and Japanese."""
    asian = language in ("zh", "ja", "yue")
    text = TAGS.sub(" ", text)
    text = "".join(c if asian and c in FULL_WIDTH else unicodedata.normalize("NFKC", c) for c in text)
    text = unicodedata.normalize("NFC", text)
    text = text.replace("…", "...") if not asian else text
    text = "".join(c for c in text.translate(SAME) if unicodedata.category(c) != "Cc" or c.isspace())
    text = re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split()))
    if not any(c.isalnum() for c in text):
        return ""
    if cfg.sentence_case and text.isupper() and len(text) > 3:
        text = text.lower()
        text = text[0].upper() + text[1:]
    if cfg.final_stop and text.rstrip("\"')」』）")[-1:] not in STOPS:
        text = text.rstrip(",;:，；：、-") + ("。" if asian else ".")
    return text


class Transform:
    """Sets `text_tts` from `text`; None where there is no text, or no letter in it."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.fingerprint = fingerprint_of(__file__, cfg=cfg)

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        return [clip.with_(text_tts=self.form_of(clip)) for clip in clips]

    def form_of(self, clip: Clip) -> str | None:
        """The spoken form, or None."""
        text = clip.segment.text
        return (tts_form(text, language=clip.segment.language, cfg=self.cfg) or None) if text else None
