"""Keep segments spoken at a human pace: text that is far too long or too short for its sound is wrong."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "chars_per_second"
DENSE = ("zh", "yue", "ja", "ko")
"""Languages whose scripts write a syllable with one character."""


class Config(Manifest):
    min: Threshold = {**dict.fromkeys(DENSE, 1.5), "other": 4.0}
    max: Threshold = {**dict.fromkeys(DENSE, 10.0), "other": 30.0}


def keep(segment: Segment, cfg: Config) -> bool:
    """Written characters a second are within bounds. A segment without text passes: `has_text` is its judge."""
    rate = segment.chars_per_second
    return rate is None or limit(cfg.min, segment) <= rate <= limit(cfg.max, segment)
