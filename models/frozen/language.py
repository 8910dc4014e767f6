"""Language of a text, by the n-gram model in the py3langid wheel, kept to the languages that were asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from models.frozen import fingerprint_of, wheel_file


@dataclass(frozen=True)
class Guess:
    """A language and how sure the model is of it, among those it may choose from."""

    language: str
    probability: float


class TextLanguage:
    """ISO 639-1 codes for texts. Two words are too few: ask for a probability, and for some length."""

    def __init__(self, *, languages: Sequence[str] = ()) -> None:
        """`languages`: the only ones to choose from; all 97 that the model knows when empty."""
        self.languages = tuple(sorted(languages))
        self.path = wheel_file("py3langid", "data", "model.npz.xz")

    @property
    def fingerprint(self) -> str:
        """Version, model, and the languages to choose from."""
        among = "+".join(self.languages) or "all"
        return fingerprint_of("textlanguage", package="py3langid", weights=[self.path], among=among)

    def __call__(self, texts: Sequence[str]) -> list[Guess | None]:
        """One guess a text; None for a text without a letter."""
        return [self.guess(text) if any(c.isalpha() for c in text) else None for text in texts]

    def guess(self, text: str) -> Guess:
        """The likeliest language."""
        language, probability = self._model.classify(text)
        return Guess(language=str(language), probability=float(probability))

    @cached_property
    def _model(self) -> Any:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        if self.languages:
            model.set_languages(list(self.languages))
        return model
