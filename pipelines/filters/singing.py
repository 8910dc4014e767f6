"""Keep segments that are spoken, not sung."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "singing_ratio"


class Config(Manifest):
    max: Threshold = 0.6
    """Share of the segment. Lively speech has up to 0.4."""


def keep(segment: Segment, cfg: Config) -> bool:
    """The share is at most the maximum; unheard is not kept. A separated voice may still sing."""
    return segment.singing_ratio is not None and segment.singing_ratio <= limit(cfg.max, segment)
