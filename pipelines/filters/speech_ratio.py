"""Keep segments that are mostly speech."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "speech_ratio"


class Config(Manifest):
    min: Threshold = 0.5


def keep(segment: Segment, cfg: Config) -> bool:
    """At least this share of the segment is speech."""
    return segment.speech_ratio is not None and segment.speech_ratio >= limit(cfg.min, segment)
