"""Keep segments whose text is about as long as what was heard: a text that is cut, or says more, is wrong."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "length_ratio"


class Config(Manifest):
    min: Threshold = 0.7
    """Characters heard for each character of the text."""
    max: Threshold = 1.4


def keep(segment: Segment, cfg: Config) -> bool:
    """Neither much longer nor much shorter; a segment with less than two texts passes."""
    ratio = segment.length_ratio
    return ratio is None or limit(cfg.min, segment) <= ratio <= limit(cfg.max, segment)
