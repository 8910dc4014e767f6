"""Whether the text is in the language it was routed by: runs after `transcribe`, since only then there is a text.

A recognizer that was sent the wrong language writes something in the one it knows; a given text may belong to another
sound. Both show here, as a fact for the filter `language_agreement`.
"""

from pydantic import Field

from infra.manifest import Manifest
from models.frozen.language import TextLanguage
from pipelines.clip import Clip, Rejected
from pipelines.transforms.language import guess_of

SETS = ("language_of_text", "language_of_text_probability", "language_agrees")
READS: tuple[str, ...] = ("text", "language", "heard_language")
CHANGES_WAVE = False

NEAR = (
    frozenset({"zh", "yue"}),
    frozenset({"no", "nb", "nn", "da"}),
    frozenset({"fil", "tl"}),
    frozenset({"id", "ms"}),
    frozenset({"hr", "sr", "bs"}),
)
"""Languages whose texts are too alike for the model to disagree about."""


class Config(Manifest):
    among: list[str] = []
    """ISO 639-1 codes to choose from; all that the model knows when empty."""
    min_probability: float = Field(default=0.8, ge=0, le=1)
    """Below, the text decides nothing."""
    min_bytes: int = 12


class Transform:
    """Sets the language of the text, and whether it is the one that is known."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.model = TextLanguage(languages=cfg.among)
        self.fingerprint = self.model.fingerprint

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> Clip:
        """Compares with `language`, else with what the recognizer says it heard."""
        guess = guess_of(self.model, clip.segment.text, min_bytes=self.cfg.min_bytes)
        if guess is None:
            return clip
        known = clip.segment.language or clip.segment.heard_language
        sure = known is not None and self.model.knows(known) and guess.probability >= self.cfg.min_probability
        return clip.with_(
            language_of_text=guess.language,
            language_of_text_probability=round(guess.probability, 4),
            language_agrees=(guess.language == known or near(guess.language, known)) if sure else None,
        )


def near(one: str, other: str | None) -> bool:
    """Whether texts of the two languages are hardly told apart."""
    return any({one, other} <= alike for alike in NEAR)
