"""A threshold of a filter: one number, or a number a language, since the scores of models shift with the language."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field

from infra.manifest import ManifestError, did_you_mean, names_in, resolve
from pipelines.row import Segment

BARE = Segment(
    key="", corpus="", recording="", recording_sha256="", license="", source="", start_sample=0, end_sample=0,
    rate_hz=1, channels=1, seconds=0.0,
)  # fmt: skip
"""A segment that nobody has scored."""

OTHER = "other"
"""The entry for every language that a table does not name."""


def read(value: object) -> object:
    """A number as it is; a table of language -> number, which has to say what holds for `other` languages."""
    if not isinstance(value, Mapping):
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise ValueError(f"a threshold is a number, or a table of language -> number, but is {value!r}")
        return value
    for code, number in value.items():
        if not isinstance(code, str):
            raise ValueError(f"a language is text, but YAML reads {code!r}; put quotes around it")
        if isinstance(number, bool) or not isinstance(number, int | float) or math.isnan(number):
            raise ValueError(f"the threshold for {code!r} is a number, but is {number!r}")
    if OTHER not in value:
        raise ValueError(f"the table names {', '.join(value) or 'nothing'}; add `other`, for all other languages")
    return {code.lower(): float(number) for code, number in value.items()}


Bounding: TypeAlias = Annotated[float, Field(allow_inf_nan=True)]
"""`.inf` keeps nothing of a language, or all of it: `select --target-hours` prints it."""
Threshold: TypeAlias = Annotated[Bounding | dict[str, Bounding], BeforeValidator(read)]
"""`3.4`, or `{en: 3.4, zh: 3.0, other: 3.2}`."""


def language_of(segment: Segment) -> str | None:
    """The language that was found, or else the one that came with the recording."""
    return segment.language or segment.given_language


def limit(threshold: float | Mapping[str, float], segment: Segment) -> float:
    """The number that holds for the segment's language: that of `zh-TW`, or of `zh`, or of `other`."""
    return threshold if isinstance(threshold, float | int) else limit_for(threshold, language_of(segment))


def limit_for(table: Mapping[str, float], language: str | None) -> float:
    """The number in the table for a language; for an unknown one, that of `other`."""
    code = (language or OTHER).lower()
    return table.get(code, table.get(code.split("-")[0], table[OTHER]))


@dataclass(frozen=True)
class Bound:
    """A filter that holds one score against one threshold."""

    score: str
    filter: str
    below: bool
    """Keeps what is at most the threshold (its setting is `max`); otherwise what is at least it (`min`)."""
    unknown_passes: bool
    """Whether a segment without the score is kept."""

    @property
    def setting(self) -> str:
        """`min` or `max`."""
        return "max" if self.below else "min"


def bound_of(score: str, *, where: str) -> Bound:
    """The filter that judges a score by one threshold; `where` names the option for messages.

    Raises: ManifestError
    """
    known: dict[str, Bound] = {}
    for name in names_in("pipelines.filters"):
        module = resolve("pipelines.filters", name)
        settings = [key for key in ("min", "max") if key in module.Config.model_fields]
        if len(settings) == 1:
            passes = bool(module.keep(BARE, module.Config()))
            known.setdefault(str(module.SCORE), Bound(str(module.SCORE), name, settings == ["max"], passes))
    if score not in known:
        told = did_you_mean(score, known)
        raise ManifestError(
            where, [f"no filter holds {score!r} against one threshold{told}; there are: {', '.join(sorted(known))}"]
        )
    return known[score]


def yaml_line(bound: Bound, threshold: float | Mapping[str, float]) -> str:
    """A line of `keep:`, to paste into a manifest."""
    if isinstance(threshold, float | int):
        return f"  - {{name: {bound.filter}, {bound.setting}: {number(threshold)}}}"
    inside = ", ".join(f"{code_told(code)}: {number(value)}" for code, value in threshold.items())
    return f"  - {{name: {bound.filter}, {bound.setting}: {{{inside}}}}}"


def code_told(code: str) -> str:
    """A language as YAML needs it: `no` and the like are words of YAML's own."""
    return f'"{code}"' if code in ("no", "on", "off", "yes", "y", "n", "true", "false", "null") else code


def number(value: float) -> str:
    """As YAML reads a number back: never an exponent without a point."""
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(round(value, 12))
    return text if "e" not in text else f"{value:.12f}".rstrip("0")


def rounded(value: float, *, below: bool, digits: int = 5) -> float:
    """To so many digits, to the side that keeps more: up for a highest value, down for a lowest."""
    if value == 0 or not math.isfinite(value):
        return value
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    scaled = value * 10.0**decimals
    near = round((math.ceil(scaled) if below else math.floor(scaled)) / 10.0**decimals, max(decimals, 0))
    off = near < value if below else near > value
    return value if off else near
