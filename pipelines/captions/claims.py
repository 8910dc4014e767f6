"""What a caption claims of a clip, held against what was measured of it; and the caption that measures alone give."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipelines.row import Segment

LANGUAGES = {"en": "English", "de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "pt": "Portuguese"}
LANGUAGES |= {"zh": "Mandarin", "ja": "Japanese", "ru": "Russian", "nl": "Dutch", "pl": "Polish", "ko": "Korean"}
FEW_CHARACTERS = ("zh", "ja", "ko", "yue")
"""Languages where a written character is about a syllable."""
PITCH = ((130.0, "low"), (185.0, "medium"), (math.inf, "high"))
"""Hz below which a voice is called so."""
BACKGROUND = ((12.0, "loud"), (25.0, "some"), (math.inf, "quiet"))
"""dB of speech over background."""
SPOKEN = {
    "slow": "slowly", "medium": "at a medium pace", "fast": "fast", "loud": "with loud background noise",
    "some": "with some background noise", "quiet": "with a quiet background",
}  # fmt: skip
COMPATIBLE = {
    ("pitch", "low"): (0.0, 200.0),
    ("pitch", "medium"): (95.0, 280.0),
    ("pitch", "high"): (140.0, math.inf),
    ("voice", "male"): (0.0, 220.0),
    ("voice", "female"): (120.0, math.inf),
    ("voice", "child"): (170.0, math.inf),
    ("background", "loud"): (-math.inf, 30.0),
    ("background", "some"): (5.0, 45.0),
    ("background", "quiet"): (12.0, math.inf),
}
"""Claim -> the measured values with which it agrees, wider than the words above: only a clear contradiction counts."""
MEASURES = {"pitch": "pitch", "voice": "pitch", "background": "background", "rate": "rate"}
UNITS = {"pitch": "Hz", "background": "dB over the background", "rate": "characters/s"}
WORDS = {
    ("voice", "male"): r"\b(?:man|men|male|gentleman)\b(?:['\u2019]s)?",
    ("voice", "female"): r"\b(?:woman|women|female|lady)\b(?:['\u2019]s)?",
    ("pitch", "low"): r"\blow[- ](?:pitched|voice)\b|\bdeep(?:[ ,-]+\w+)? voice\b|\bbass voice\b",
    ("pitch", "high"): r"\bhigh[- ](?:pitched|voice)\b|\bshrill\b",
    ("rate", "slow"): r"\bslow(?:ly)?\b|\bunhurried\b|\bleisurely\b",
    ("rate", "fast"): r"\bfast(?:-paced)?\b|\brapid(?:ly)?\b|\bquick(?:ly)?\b|\bhurried(?:ly)?\b",
    ("background", "loud"): r"\bnoisy\b|\b(?:loud|heavy|strong) (?:background|noise|traffic|music)\b",
    ("background", "quiet"): r"\b(?:quiet|silent|clean) (?:background|recording|room|studio)\b|\bnoise[- ]free\b",
} | {("language", code): rf"\b(?:in|speak(?:s|ing)?) {name}\b" for code, name in LANGUAGES.items()}
"""Claim -> the English words that make it."""
NEGATED = re.compile(r"\b(?:no|not|without|nor|neither|never|hardly|isn't|less)\b(?:\W+\w+){0,2}\W*$", re.IGNORECASE)


@dataclass(frozen=True)
class Caption:
    """How a clip sounds, in words."""

    long: str
    short: str
    tags: tuple[str, ...]
    """`aspect:value`."""
    by: str
    """`rules`, with a reason where an endpoint should have spoken; or the model's name."""


def rate_limits(language: str | None) -> tuple[float, float]:
    """Characters a second below which speech is slow, and above which it is fast."""
    return (3.5, 5.5) if language in FEW_CHARACTERS else (10.0, 16.0)


def measures(segment: Segment) -> dict[str, float]:
    """Aspect -> what was measured, where it was."""
    found = {"pitch": segment.pitch_hz, "rate": segment.chars_per_second, "background": segment.snr_db}
    return {aspect: value for aspect, value in found.items() if value is not None}


def by_rules(segment: Segment, *, why: str = "") -> Caption:
    """The caption that the measures give: "A low voice speaks German, fast, with a quiet background."; no guess at a
    person. `why`: the reason why no endpoint speaks."""
    found = measures(segment)
    slow, fast = rate_limits(segment.language)
    steps = {"pitch": PITCH, "rate": ((slow, "slow"), (fast, "medium"), (math.inf, "fast")), "background": BACKGROUND}
    words = {aspect: binned(value, steps[aspect]) for aspect, value in found.items()}
    language = segment.language
    voice = f"A {words['pitch']} voice" if "pitch" in words else "A voice"
    parts = [f"{voice} speaks {LANGUAGES.get(language, language)}" if language else f"{voice} speaks"]
    parts += [SPOKEN[words[aspect]] for aspect in ("rate", "background") if aspect in words]
    tags = tuple(f"{aspect}:{word}" for aspect, word in words.items())
    tags += (f"language:{language}",) if language else ()
    short = ", ".join([voice, *parts[1:2]]) + "."
    return Caption(", ".join(parts) + ".", short, tags, f"rules ({why})" if why else "rules")


def binned(value: float, steps: Iterable[tuple[float, str]]) -> str:
    """The word of the first step that the value lies below."""
    return next(word for limit, word in steps if value < limit)


def claims_in(text: str) -> dict[str, set[str]]:
    """Aspect -> what English words of the text claim; a word after a negation claims nothing."""
    found: dict[str, set[str]] = {}
    for (aspect, value), pattern in WORDS.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            if not NEGATED.search(text[: match.start()]):
                found.setdefault(aspect, set()).add(value)
    return found


def conflicts(caption: Caption, segment: Segment) -> tuple[str, ...]:
    """What the caption says, in tags or in words, and the measures deny, or its own parts deny; a sentence each.

    Emotion, age and room are measured by nothing here: what is said of them is not checked.
    """
    claimed = claims_in(f"{caption.long} {caption.short}")
    for tag in caption.tags:
        aspect, _, value = tag.partition(":")
        if aspect in ("pitch", "voice", "rate", "background", "language"):
            claimed.setdefault(aspect, set()).add(value)
    found = []
    for aspect, values in sorted(claimed.items()):
        if len(values) > 1:
            found.append(f"{aspect}: it says both {' and '.join(sorted(values))}")
        found += [sentence for value in sorted(values) if (sentence := denied(aspect, value, segment))]
    return tuple(found)


def denied(aspect: str, value: str, segment: Segment) -> str | None:
    """The sentence for a claim that the measures deny; None where they agree, or nothing was measured."""
    if aspect == "language":
        known = segment.language
        return f"language: {value} is claimed, {known} is known" if known and value != known else None
    measured: Mapping[str, float] = measures(segment)
    name = MEASURES[aspect]
    if name not in measured:
        return None
    slow, fast = rate_limits(segment.language)
    agree = {**COMPATIBLE, ("rate", "slow"): (0.0, fast), ("rate", "fast"): (slow, math.inf)}
    low, high = agree.get((aspect, value), (-math.inf, math.inf))
    if low <= measured[name] <= high:
        return None
    return f"{aspect}: {value} is claimed, {measured[name]:.4g} {UNITS[name]} is measured"
