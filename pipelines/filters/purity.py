"""Keep segments in which one voice speaks: every window sounds like the mean of all."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "speaker_cosine_min"


class Config(Manifest):
    min: Threshold = 0.45
    """Cosine of the least similar window to the mean voice; the scale is the embedder's own."""


def keep(segment: Segment, cfg: Config) -> bool:
    """No window is far from the mean voice. A segment too short to compare windows passes."""
    return segment.speaker_cosine_min is None or segment.speaker_cosine_min >= limit(cfg.min, segment)
