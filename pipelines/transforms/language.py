"""Which language is spoken: as given, else what sound and given text agree on; None where nobody knows for sure.

It runs before `transcribe`, which routes by it, so it sees given texts only. Without a network that listens (`audio`)
a recording without a text has no known language here. `language_check` compares the recognized text afterwards.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, model_validator

from infra.manifest import Manifest, resolve
from models.frozen import Wave
from models.frozen.language import Guess, TextLanguage
from pipelines.clip import Clip, Rejected

SETS = (
    "language", "language_by", "language_audio", "language_audio_probability", "language_text",
    "language_text_probability",
)  # fmt: skip
READS: tuple[str, ...] = ()
CHANGES_WAVE = False

SAME = {
    "cmn": "zh",
    "mandarin": "zh",
    "chinese": "zh",
    "eng": "en",
    "english": "en",
    "deu": "de",
    "ger": "de",
    "fra": "fr",
}
"""Other names in use for a language; what is not here is kept up to the first hyphen, in lower case."""


class LanguageDetector(Protocol):
    """A file of models/frozen that tells a language by its sound: `recognizer(checkpoint, device=...)` makes one."""

    RATE_HZ: int

    @property
    def fingerprint(self) -> str:
        """What decides its results."""

    def languages(self, waves: Sequence[Wave]) -> list[Guess]:
        """One guess a waveform, in order."""


class Config(Manifest):
    audio: Literal["whisper", "faster_whisper", "moonshine"] | None = None
    """Network that listens; without one only texts tell. `moonshine`, which needs no checkpoint, tells English from all
    else, and nothing about the rest."""
    checkpoint: Path | None = None
    """Weights of `whisper` and `faster_whisper`."""
    device: str = "cpu"
    min_audio_probability: float = Field(default=0.8, ge=0, le=1)
    """Below, the sound decides nothing: such clips go the way of `unknown`, where several recognizers can listen."""
    among: list[str] = []
    """ISO 639-1 codes to choose from when a text decides; all that the model knows when empty."""
    min_probability: float = Field(default=0.8, ge=0, le=1)
    min_bytes: int = 12
    """Shorter texts decide nothing: "hola" and "ok" are not enough to go by."""

    @model_validator(mode="after")
    def _weights(self) -> "Config":
        if self.audio in ("whisper", "faster_whisper") and self.checkpoint is None:
            raise ValueError(f"audio: {self.audio} needs checkpoint, the path of its weights")
        return self


def code_of(name: str) -> str:
    """One code for one language: `en-US`, `en_us`, `English` -> `en`."""
    stem = name.strip().lower().replace("_", "-").split("-")[0]
    return SAME.get(stem, stem)


class Transform:
    """Sets the language, who said so, and what sound and given text say by themselves."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.model = TextLanguage(languages=cfg.among)
        self.detector: LanguageDetector | None = None
        if cfg.audio is not None:
            self.detector = resolve("models.frozen", cfg.audio).recognizer(cfg.checkpoint, device=cfg.device)
        self.fingerprint = "+".join(model.fingerprint for model in (self.model, self.detector) if model is not None)

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        sounds: list[Guess | None] = [None] * len(clips)
        if self.detector is not None and clips:
            sounds = list(self.detector.languages([clip.at(self.detector.RATE_HZ) for clip in clips]))
        return [self.decide(clip, sound) for clip, sound in zip(clips, sounds, strict=True)]

    def decide(self, clip: Clip, sound: Guess | None) -> Clip:
        """A given language stands; else what is known well enough, if it is one and the same."""
        text = guess_of(self.model, clip.segment.given_text, min_bytes=self.cfg.min_bytes)
        facts: dict[str, Any] = {
            "language_audio": sound.language if sound else None,
            "language_audio_probability": round(sound.probability, 4) if sound else None,
            "language_text": text.language if text else None,
            "language_text_probability": round(text.probability, 4) if text else None,
        }
        if clip.segment.given_language:
            return clip.with_(language=code_of(clip.segment.given_language), language_by="given", **facts)
        known = {}
        if sound is not None and sound.probability >= self.cfg.min_audio_probability:
            known["audio"] = sound.language
        if text is not None and text.probability >= self.cfg.min_probability:
            known["text"] = text.language
        languages = set(known.values())
        by = "disagree" if len(languages) > 1 else "+".join(known) or "unknown"
        return clip.with_(language=languages.pop() if len(languages) == 1 else None, language_by=by, **facts)


def guess_of(model: TextLanguage, text: str | None, *, min_bytes: int) -> Guess | None:
    """The likeliest language of a text that is long enough to go by."""
    return model([text])[0] if text and len(text.encode()) >= min_bytes else None
