"""Keep segments in which one person speaks at a time, as far as `diarize` heard."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "overlap_ratio"


class Config(Manifest):
    max: Threshold = 0.02
    """Share of the segment in which two voices speak at once."""


def keep(segment: Segment, cfg: Config) -> bool:
    """Hardly any overlap. A segment of a recording that was not diarized passes."""
    return segment.overlap_ratio is None or segment.overlap_ratio <= limit(cfg.max, segment)
