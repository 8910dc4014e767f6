"""Keep segments that are mostly speech."""

from infra.manifest import Manifest
from pipelines.row import Segment
from pipelines.thresholds import Threshold, limit

SCORE = "speech_ratio"


class Config(Manifest):
    min: Threshold = 0.5


def keep(segment: Segment, cfg: Config) -> bool:
    """At least this share of the segment is speech."""
    return segment.speech_ratio is not None and segment.speech_ratio >= limit(cfg.min, segment)
