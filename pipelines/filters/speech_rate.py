"""Keep segments spoken at a human pace: text that is far too long or too short for its sound is wrong."""

from infra.manifest import Manifest
from pipelines.row import Segment

SCORE = "chars_per_second"
DENSE = frozenset({"zh", "yue", "ja", "ko"})


class Config(Manifest):
    min: float = 4.0
    max: float = 30.0
    min_dense: float = 1.5
    """For scripts that write a syllable with one character."""
    max_dense: float = 10.0


def keep(segment: Segment, cfg: Config) -> bool:
    """Written characters a second are within bounds. A segment without text passes: `has_text` is its judge."""
    rate = segment.chars_per_second
    if rate is None:
        return True
    language = (segment.language or segment.given_language or "").split("-")[0].lower()
    low, high = (cfg.min_dense, cfg.max_dense) if language in DENSE else (cfg.min, cfg.max)
    return low <= rate <= high
