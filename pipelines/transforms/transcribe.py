"""What is said: the given text, or what recognizers agree on best; and how far all texts of the same sound differ.

Every language has a route: a primary recognizer, and others of another family to check it. All of a route listen to all
of its clips. A given text stands; without one the text is the medoid, the hypothesis nearest to all others (of two, the
primary's). Nothing is decided here about quality: `consistency`, `edge_cer`, `hallucination` and `agreement` filter.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import field_validator

from infra.manifest import Manifest, resolve
from models.frozen import Heard, Wave
from pipelines.clip import Clip, Rejected
from pipelines.hearing import consistency, texts

SETS = (
    "text_raw", "text", "text_by", "heard_text", "heard_cer", "heard_language", "heard_log_probability",
    "heard_no_speech", "hypotheses", "hypotheses_by", "pairwise_cer", "pairwise_wer", "cer_mean", "wer_mean",
    "edge_cer", "length_ratio", "compression_ratio", "hallucination", "untexted_seconds",
)  # fmt: skip
READS: tuple[str, ...] = ("language", "speech_ratio")
CHANGES_WAVE = False

UNTRANSCRIBED = "untranscribed"


class Recognizer(Protocol):
    """A file of models/frozen that turns speech into text: `recognizer(checkpoint, device=...)` makes one."""

    RATE_HZ: int

    @property
    def fingerprint(self) -> str:
        """What decides its results."""

    def __call__(self, waves: Sequence[Wave], languages: Sequence[str | None]) -> list[Heard]:
        """One text a waveform, in order."""


class Config(Manifest):
    routes: dict[str, list[str]] = {"en": ["moonshine"]}
    """Language -> recognizers, the primary one first; `unknown` stands for no known language, `other` for one that is
    not named. At full size: `{en: [whisper, faster_whisper], zh: [paraformer, sensevoice], other: [whisper]}`."""
    checkpoints: dict[str, Path] = {}
    """Recognizer -> where its weights lie, for those that come without."""
    device: str = "cpu"
    """Where the recognizers run that can: `cpu`, `cuda`, `cuda:1`."""
    beside: bool = True
    """Run the recognizers beside a given text too, and store how far they differ."""

    @field_validator("routes", mode="before")
    @classmethod
    def listed(cls, routes: Any) -> Any:
        """A name alone is a list of one."""
        if not isinstance(routes, dict):
            return routes
        return {key: [names] if isinstance(names, str) else names for key, names in routes.items()}

    @field_validator("routes")
    @classmethod
    def known(cls, routes: dict[str, list[str]]) -> dict[str, list[str]]:
        """Every name is a recognizer in models/frozen, and stands once in its route."""
        for language, names in routes.items():
            for name in names:
                require_recognizer(name)
            if len(set(names)) != len(names):
                raise ValueError(f"the route of {language} names a recognizer twice: {names}")
        return routes


def require_recognizer(name: str) -> None:
    """Raises: ValueError where models/frozen/`name`.py is not there, or recognizes no speech."""
    if not hasattr(resolve("models.frozen", name), "recognizer"):
        raise ValueError(f"models/frozen/{name}.py recognizes no speech")


def recognizer_of(name: str, *, checkpoint: Path | None, device: str = "cpu") -> Recognizer:
    """The recognizer in models/frozen/`name`.py.

    Raises: WeightsError when its weights are not there.
    """
    made: Recognizer = resolve("models.frozen", name).recognizer(checkpoint, device=device)
    return made


class Transform:
    """Sets the text and who wrote it, what was heard, and how far the texts differ."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        names = sorted({name for route in cfg.routes.values() for name in route})
        self.recognizers = {
            name: recognizer_of(name, checkpoint=cfg.checkpoints.get(name), device=cfg.device) for name in names
        }
        asked = [recognizer.fingerprint for recognizer in self.recognizers.values()]
        self.fingerprint = "+".join([*asked, texts.normalizer().fingerprint])

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order; each recognizer hears its clips in one batch."""
        routes = [self.route(clip) for clip in clips]
        heard: list[dict[str, Heard]] = [{} for _ in clips]
        for name, recognizer in self.recognizers.items():
            mine = [number for number, route in enumerate(routes) if name in route]
            if not mine:
                continue
            waves = [clips[number].at(recognizer.RATE_HZ) for number in mine]
            languages = [clips[number].segment.language for number in mine]
            for number, found in zip(mine, recognizer(waves, languages), strict=True):
                heard[number][name] = found
        return [
            decide(clip, {name: found[name] for name in route})
            for clip, route, found in zip(clips, routes, heard, strict=True)
        ]

    def route(self, clip: Clip) -> list[str]:
        """The recognizers that are to hear a clip, the primary one first."""
        if clip.segment.given_text and not self.cfg.beside:
            return []
        language = clip.segment.language
        key = "unknown" if language is None else language if language in self.cfg.routes else "other"
        return self.cfg.routes.get(key, [])


def decide(clip: Clip, heard: dict[str, Heard]) -> Clip:
    """The given text stands, what was heard is a fact beside it; without one, the medoid of what was heard is it."""
    raw = clip.segment.given_text or ""
    given = clean(raw)
    language = clip.segment.language or next((found.language for found in heard.values() if found.language), None)
    texts = ([given] if given else []) + [clean(found.text) for found in heard.values()]
    matrix = consistency.pairwise(texts, language=language)
    facts: dict[str, Any] = {"text_by": "given", "text_raw": raw, "text": given}
    best = None
    if heard:
        names = list(heard)
        heard_only = [row[-len(names) :] for row in matrix[-len(names) :]]
        best = names[consistency.medoid(heard_only)]
        facts |= {
            "heard_language": heard[best].language,
            "heard_log_probability": rounded(heard[best].log_probability),
            "heard_no_speech": rounded(heard[best].no_speech),
            "hypotheses": tuple(found.text for found in heard.values()),
            "hypotheses_by": tuple(names),
        }
    if given and best is not None:
        cer = consistency.character_error_rate(heard[best].text, given=given, language=language)
        facts |= {"heard_text": clean(heard[best].text), "heard_cer": round(cer, 4)}
    elif not given:
        raw = heard[best].text if best is not None else ""
        known = any(c.isalnum() for c in raw)
        facts |= {"text_raw": raw if known else None, "text": clean(raw) if known else None}
        facts["text_by"] = best if known else UNTRANSCRIBED
    if len(texts) > 1:
        facts |= differences(matrix, texts, language=language)
        facts |= beside(facts["text"] or "", texts, language=language)
    return clip.with_(**facts, **of_text(clip, facts, by=heard.get(facts["text_by"]), language=language))


def clean(text: str) -> str:
    """Without a recognizer's marks, markup and outer spaces."""
    return texts.unmarked(text)


def rounded(value: float | None) -> float | None:
    """Four digits, where there is a value."""
    return None if value is None else round(value, 4)


def differences(matrix: list[list[float]], texts: list[str], *, language: str | None) -> dict[str, Any]:
    """The matrices of character and word error rates, and their means."""
    words = consistency.pairwise_words(texts, language=language)
    return {
        "pairwise_cer": consistency.flat(matrix),
        "cer_mean": rounded(consistency.mean_of_pairs(matrix)),
        "pairwise_wer": None if words is None else consistency.flat(words),
        "wer_mean": None if words is None else rounded(consistency.mean_of_pairs(words)),
    }


def beside(text: str, texts: list[str], *, language: str | None) -> dict[str, Any]:
    """The text against all the other texts of the same sound: its ends, its length."""
    others = list(texts)
    others.remove(text)
    edges = [consistency.edge_error_rate(other, given=text, language=language) for other in others]
    lengths = [consistency.length_ratio(other, given=text, language=language) for other in others]
    return {"edge_cer": rounded(sum(edges) / len(edges)), "length_ratio": rounded(sum(lengths) / len(lengths))}


def of_text(clip: Clip, facts: dict[str, Any], *, by: Heard | None, language: str | None) -> dict[str, Any]:
    """What is measured on the chosen text alone; `by` is the recognizer's word where the text is its own."""
    segment, text = clip.segment, facts["text"]
    spoken = None if segment.speech_ratio is None else round(segment.speech_ratio * segment.seconds, 4)
    if text is None:
        return {"untexted_seconds": spoken}
    found = consistency.hallucinations(
        text,
        seconds=segment.seconds,
        language=language,
        log_probability=by.log_probability if by else None,
        no_speech=by.no_speech if by else None,
    )
    return {
        "compression_ratio": round(consistency.compression_ratio(text), 4),
        "hallucination": found,
        "untexted_seconds": 0.0 if spoken is not None else None,
    }
