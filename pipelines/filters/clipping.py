"""Keep segments that were not recorded too loud."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "clipped_ratio"


class Config(Manifest):
    max: Threshold = 0.001
    """Share of samples at full scale."""


def keep(segment: Segment, cfg: Config) -> bool:
    """Few samples are at full scale."""
    return segment.clipped_ratio is not None and segment.clipped_ratio <= limit(cfg.max, segment)
