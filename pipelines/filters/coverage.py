"""Keep segments whose text says all that is spoken: speech without a word above it is a text that is too short."""

from infra.manifest import Manifest
from pipelines.row import Segment

SCORE = "uncovered_seconds"


class Config(Manifest):
    max: float = 0.35
    """Finds about three quarters of the texts that lack three words in a row."""


def keep(segment: Segment, cfg: Config) -> bool:
    """No long stretch of speech is without words; a segment in a language that nobody can align passes."""
    return segment.uncovered_seconds is None or segment.uncovered_seconds <= cfg.max
