"""What can be asked for: one text to speak, checked as far as it can be without networks."""

import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, TypedDict

from models.runtime.draws import Draws
from models.runtime.prompt import RequestError, Sound
from models.text.language import language_tag
from models.text.tokens import INTERLEAVED_TEMPLATE, TEMPLATES

FinishReason = Literal["stop", "length", "cancelled"]
"""The stop head ended it; the maximum cut it; somebody called it off."""
Mode = Literal["continuation", "xvector", "none"]
"""Prompt audio with its text; prompt audio alone; no prompt."""

MAX_PATCHES = 500
"""80 s, the official default; of new speech, the prompt not counted."""
MAX_CHARACTERS = 4096
"""Of one request. Longer texts go sentence by sentence: models.runtime.long."""

LARGEST_SPEAKER_SCALE = 1000
"""Far beyond what sounds like speech; more than that gives noise, then what is no number."""


class Options(TypedDict, total=False):
    """What a request may say beside its text; see `Request`."""

    prompt_audio: Sound | None
    prompt_text: str | None
    mode: Mode | None
    template: str
    language: str | None
    normalize: bool
    method: str | None
    num_steps: int | None
    guidance_scale: float | None
    speaker_scale: float
    max_patches: int
    stop_threshold: float
    stop_guard: bool
    seed: int
    draws: Draws | None
    cancelled: Callable[[], bool] | None


@dataclass(frozen=True, kw_only=True)
class Request:
    """One text to speak. With a prompt and its text: continuation; with a prompt alone: its x-vector; else no voice."""

    text: str
    prompt_audio: Sound | None = None
    prompt_text: str | None = None
    mode: Mode | None = None
    """None: what the prompt allows. Otherwise a prompt that does not fit is an error."""
    template: str = "tts"
    """tts, instruction_tts, text_to_audio, or tts_interleave (a text token, a patch, a text token, ...)."""
    language: str | None = None
    """A code or name (`EN`, `chinese`), an accent tag, `auto_detect`, or None for no tag."""
    normalize: bool = False
    """Write out numbers and signs of Chinese and English text (models.text.normalize)."""
    method: str | None = None
    """ODE method: euler, midpoint, rk4; None takes the model's own."""
    num_steps: int | None = None
    guidance_scale: float | None = None
    speaker_scale: float = 1.5
    max_patches: int = MAX_PATCHES
    stop_threshold: float = 0.8
    stop_guard: bool = True
    """Cut very short texts where they cannot take longer: released models may babble on after them."""
    seed: int = 0
    draws: Draws | None = None
    """Random numbers to use instead of those of `seed`: recorded ones, for parity."""
    cancelled: Callable[[], bool] | None = None
    """Asked before every patch; true ends the speech. What it raises ends this request alone, and comes out of it."""

    def __post_init__(self) -> None:
        """Raises: RequestError, a sentence."""
        check_types(self)
        check_text(self.text)
        check_language(self.language)
        if self.prompt_text is not None:
            check_text(self.prompt_text, what="the prompt text", empty=True)
            if self.prompt_audio is None and self.transcript:
                raise RequestError("a prompt text was given without the prompt audio that it transcribes; give both")
        check_mode(self)
        if self.template not in (*TEMPLATES, INTERLEAVED_TEMPLATE):
            names = ", ".join((*TEMPLATES, INTERLEAVED_TEMPLATE))
            raise RequestError(f"unknown template {self.template!r}; there are: {names}")
        check_numbers(
            max_patches=self.max_patches,
            seed=self.seed,
            stop_threshold=self.stop_threshold,
            speaker_scale=self.speaker_scale,
        )

    @property
    def transcript(self) -> str:
        """What the prompt says, without blanks around it; empty where only its x-vector is used."""
        return (self.prompt_text or "").strip()

    def limit(self, patches_per_second: float, *, text: str | None = None) -> int:
        """Patches that the speech may have at most; `text`: what is really spoken, where that came later."""
        seconds = longest_seconds(self.text if text is None else text) if self.stop_guard else None
        return self.max_patches if seconds is None else min(math.ceil(seconds * patches_per_second), self.max_patches)


KINDS: dict[str, tuple[type, str]] = {
    "template": (str, "a name"),
    "language": (str, "a code or name"),
    "method": (str, "a name"),
    "num_steps": (Integral, "a whole number"),
    "max_patches": (Integral, "a whole number"),
    "seed": (Integral, "a whole number"),
    "guidance_scale": (Real, "a number"),
    "speaker_scale": (Real, "a number"),
    "stop_threshold": (Real, "a number"),
}
"""What a request says in words and numbers; numpy's numbers are numbers too."""
OPTIONAL = ("language", "method", "num_steps", "guidance_scale")


def check_types(request: Request) -> None:
    """Raises: RequestError for a value that is not of its type."""
    for name, (kind, what) in KINDS.items():
        value = getattr(request, name)
        if value is None and name in OPTIONAL:
            continue
        if not isinstance(value, kind) or isinstance(value, bool):
            raise RequestError(f"{name} must be {what}, but is {value!r}")
    if request.cancelled is not None and not callable(request.cancelled):
        raise RequestError(f"cancelled must be a function, but is {request.cancelled!r}")


HALF = "U+%04X, which is half of a surrogate pair"


def check_text(text: str, *, what: str = "the text", empty: bool = False, limit: int = MAX_CHARACTERS) -> None:
    """Raises: RequestError for no text, too much of it, or signs that are not text."""
    if not isinstance(text, str):
        raise RequestError(f"{what} must be a text, but is {text!r}")
    if not empty and not text.strip():
        raise RequestError("there is no text to speak; give at least one word")
    if len(text) > limit:
        raise RequestError(f"{what} has {len(text)} characters, and at most {limit} are taken; split it")
    for place, sign in enumerate(text):
        if unicodedata.category(sign) == "Cs":
            raise RequestError(f"{what} has {HALF % ord(sign)}, at position {place}; join the two halves")
        if unicodedata.category(sign) == "Cc" and sign not in "\n\r\t":
            raise RequestError(f"{what} has the control character U+{ord(sign):04X} at position {place}; take it out")


def check_language(language: str | None) -> None:
    """Raises: RequestError for what names no language."""
    try:
        language_tag(language)
    except ValueError as error:
        raise RequestError(str(error)) from None


def check_mode(request: Request) -> None:
    """Raises: RequestError where the prompt is not what the mode takes."""
    if request.mode is None:
        return
    if request.mode not in ("continuation", "xvector", "none"):
        raise RequestError(f"unknown mode {request.mode!r}; there are: continuation, xvector, none")
    wants_audio, wants_text = request.mode != "none", request.mode == "continuation"
    for wanted, given, name in (
        (wants_audio, request.prompt_audio is not None, "prompt audio"),
        (wants_text, bool(request.transcript), "prompt text"),
    ):
        if wanted != given:
            raise RequestError(
                f"mode {request.mode} {'needs' if wanted else 'takes no'} {name}; "
                f"{'give it' if wanted else 'leave it out'}, or choose another mode"
            )


def check_numbers(
    *,
    max_patches: int,
    seed: int,
    stop_threshold: float,
    speaker_scale: float,
) -> None:
    """Raises: RequestError for a value out of range."""
    if max_patches < 1:
        raise RequestError(f"the maximum is {max_patches} patches; allow at least one (0.16 s)")
    if not 0 <= seed < 2**63:
        raise RequestError(f"the seed is {seed}; give a whole number from 0 to 2^63 - 1")
    if not 0 <= stop_threshold <= 1:
        raise RequestError(f"the stop threshold is a probability, but is {stop_threshold}")
    if not abs(speaker_scale) <= LARGEST_SPEAKER_SCALE:
        raise RequestError(
            f"the speaker scale must be a number from -{LARGEST_SPEAKER_SCALE} to {LARGEST_SPEAKER_SCALE}, "
            f"but is {speaker_scale}; 1.5 is usual"
        )


SHORT = 5
"""Letters and digits up to which a text counts as very short."""


def longest_seconds(text: str) -> float | None:
    """Seconds that a very short text can take at most; None for a longer one.

    A released model was seen to babble 2 to 3 s after texts of 1 to 5 characters (dots.tts issue 17). Slow speech has
    2.5 syllables a second: 0.4 s for a letter, 0.8 s for a digit (its name may have three syllables), and 1.2 s for
    the silence around.
    """
    letters = sum(1 for sign in text if unicodedata.category(sign)[0] == "L")
    digits = sum(1 for sign in text if unicodedata.category(sign)[0] == "N")
    if letters + digits > SHORT:
        return None
    return 1.2 + 0.4 * letters + 0.8 * digits
