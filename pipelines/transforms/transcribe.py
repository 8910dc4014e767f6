"""What is said: the given text, else the recognizer that knows the language; untranscribed where none does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pydantic import field_validator

from infra.manifest import Manifest, resolve
from models.frozen import Heard, Wave
from pipelines.row import Clip, Rejected
from pipelines.transforms import fingerprint_of
from pipelines.transforms.text import norm_form

SETS = ("text", "text_by", "heard_text", "heard_cer")
READS: tuple[str, ...] = ("language",)
CHANGES_WAVE = False

UNTRANSCRIBED = "untranscribed"


class Recognizer(Protocol):
    """A file of models/frozen that turns speech into text: `recognizer(checkpoint)` makes one."""

    RATE_HZ: int

    @property
    def fingerprint(self) -> str:
        """What decides its results."""

    def __call__(self, waves: Sequence[Wave], languages: Sequence[str | None]) -> list[Heard]:
        """One text a waveform, in order."""


class Config(Manifest):
    routes: dict[str, str] = {"en": "pocketsphinx"}
    """Language -> recognizer; `unknown` stands for no known language, `other` for one that is not named."""
    checkpoints: dict[str, Path] = {}
    """Recognizer -> where its weights lie, for those that come without."""
    beside: bool = True
    """Run the recognizer beside a given text too, and store how far they differ."""

    @field_validator("routes")
    @classmethod
    def known(cls, routes: dict[str, str]) -> dict[str, str]:
        """Every name is a recognizer in models/frozen."""
        for name in routes.values():
            if not hasattr(resolve("models.frozen", name), "recognizer"):
                raise ValueError(f"models/frozen/{name}.py recognizes no speech")
        return routes


def recognizer_of(name: str, *, checkpoint: Path | None) -> Recognizer:
    """The recognizer in models/frozen/`name`.py.

    Raises: WeightsError when its weights are not there.
    """
    made: Recognizer = resolve("models.frozen", name).recognizer(checkpoint)
    return made


def character_error_rate(heard: str, *, given: str) -> float:
    """Edits from `heard` to `given`, over the characters of `given`, both in the form for comparing."""
    from rapidfuzz.distance import Levenshtein

    target = norm_form(given)
    return Levenshtein.distance(norm_form(heard), target) / max(1, len(target))


class Transform:
    """Sets the text and who wrote it, and what was heard beside a given text."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        names = sorted(set(cfg.routes.values()))
        self.recognizers = {name: recognizer_of(name, checkpoint=cfg.checkpoints.get(name)) for name in names}
        backends = [recognizer.fingerprint for recognizer in self.recognizers.values()]
        self.fingerprint = fingerprint_of(__file__, cfg=cfg, backends=backends)

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order; each recognizer hears its clips in one batch."""
        heard: dict[int, Heard] = {}
        for name, recognizer in self.recognizers.items():
            mine = [number for number, clip in enumerate(clips) if self.route(clip) == name]
            waves = [clips[number].at(recognizer.RATE_HZ) for number in mine]
            languages = [clips[number].segment.language for number in mine]
            heard.update(zip(mine, recognizer(waves, languages) if mine else [], strict=True))
        return [self.decide(clip, heard.get(number)) for number, clip in enumerate(clips)]

    def route(self, clip: Clip) -> str | None:
        """The recognizer for a clip, if one is to hear it."""
        if clip.segment.given_text and not self.cfg.beside:
            return None
        language = clip.segment.language
        key = "unknown" if language is None else language if language in self.cfg.routes else "other"
        return self.cfg.routes.get(key)

    def decide(self, clip: Clip, heard: Heard | None) -> Clip:
        """The given text stands; what was heard is a fact beside it, or the text where none was given."""
        given = (clip.segment.given_text or "").strip()
        if not given:
            text = heard.text.strip() if heard is not None else ""
            return clip.with_(text=text or None, text_by=self.route(clip) if text else UNTRANSCRIBED)
        if heard is None:
            return clip.with_(text=given, text_by="given")
        cer = round(character_error_rate(heard.text, given=given), 4)
        return clip.with_(text=given, text_by="given", heard_text=heard.text, heard_cer=cer)
