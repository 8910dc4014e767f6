"""Which language is spoken: as given, else read off the given text; None where there is nothing to go by."""

from pydantic import Field

from infra.manifest import Manifest
from models.frozen.language import TextLanguage
from pipelines.row import Clip, Rejected
from pipelines.transforms import fingerprint_of

SETS = ("language", "language_by")
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


class Config(Manifest):
    among: list[str] = []
    """ISO 639-1 codes to choose from when a text decides; all that the model knows when empty."""
    min_probability: float = Field(default=0.8, ge=0, le=1)
    min_bytes: int = 12
    """Shorter texts decide nothing: "hola" and "ok" are not enough to go by."""


def code_of(name: str) -> str:
    """One code for one language: `en-US`, `en_us`, `English` -> `en`."""
    stem = name.strip().lower().replace("_", "-").split("-")[0]
    return SAME.get(stem, stem)


class Transform:
    """Sets the language and who said so: `given`, or the text model."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.model = TextLanguage(languages=cfg.among)
        self.fingerprint = fingerprint_of(__file__, cfg=cfg, backends=[self.model.fingerprint])

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> Clip:
        """A given language stands; a given text decides if the model is sure enough."""
        if clip.segment.given_language:
            return clip.with_(language=code_of(clip.segment.given_language), language_by="given")
        text = clip.segment.given_text or ""
        guess = self.model([text])[0] if len(text.encode()) >= self.cfg.min_bytes else None
        if guess is None or guess.probability < self.cfg.min_probability:
            return clip.with_(language=None, language_by="unknown")
        return clip.with_(language=guess.language, language_by="text")
