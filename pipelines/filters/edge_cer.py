"""Keep segments whose text begins and ends where the sound does: a lost first or last word shows at the ends."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "edge_cer"


class Config(Manifest):
    max: Threshold = 0.5
    """Character error rate of the first or last 12 characters, the worse end; for recognizers that are fit to label."""


def keep(segment: Segment, cfg: Config) -> bool:
    """Both ends agree with what else was heard; a segment with less than two texts passes."""
    return segment.edge_cer is None or segment.edge_cer <= limit(cfg.max, segment)
