"""Language of a text, by its script, or by the n-gram model in the py3langid wheel; of the languages asked for."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from models.frozen import fingerprint_of, wheel_file

SCRIPTS = (
    ("HIRAGANA", "ja"), ("KATAKANA", "ja"), ("HANGUL", "ko"), ("CJK", "zh"), ("OL", "sat"), ("MEETEI", "mni"),
)  # fmt: skip
"""Scripts (first words of the names of their letters) that name a language, kana before the characters that Japanese
shares with Chinese. The last two the model does not know, and takes for others."""
LABELS = {
    "ary": "ar", "arz": "ar", "fuv": "ff", "gom": "kok", "grc": "el", "gug": "gn", "hbo": "he", "kik": "ki",
    "pcm": "en", "sdh": "ckb", "tl": "fil", "uzs": "uz", "wuu": "zh",
}  # fmt: skip
"""What the model calls varieties, or calls otherwise -> the codes in use here."""
MAJORITY = 0.5
"""Share of the letters that have to be of these scripts: names in Latin letters stand in many Chinese texts."""


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
        """The likeliest language. The model is unsure of short Chinese texts, of which the script leaves no doubt."""
        written = by_script(text)
        if written is not None and (not self.languages or written in self.languages):
            return Guess(language=written, probability=1.0)
        language, probability = self._model.classify(text)
        return Guess(language=LABELS.get(str(language), str(language)), probability=float(probability))

    def knows(self, language: str) -> bool:
        """Can it tell this language from others? For one that it does not know it names another, and may be sure."""
        labels = self.languages or (*self._model.nb_classes, *dict(SCRIPTS).values())
        return language in {LABELS.get(str(label), str(label)) for label in labels}

    @cached_property
    def _model(self) -> Any:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        if self.languages:
            model.set_languages(list(self.languages))
        return model


def by_script(text: str) -> str | None:
    """The language that has a script of its own, where most letters are of it; Cantonese counts as Chinese."""
    names = [unicodedata.name(c, "").split()[0] for c in text if c.isalpha()]
    marks = dict.fromkeys(names)
    known = [language for script, language in SCRIPTS if script in marks]
    asian = sum(name in dict(SCRIPTS) for name in names)
    return known[0] if known and asian > MAJORITY * len(names) else None
