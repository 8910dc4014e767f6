"""Keep segments whose background is seldom loud."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "noise_ratio"


class Config(Manifest):
    max: Threshold = 0.3
    """Share of the segment. Of 104 clean clips none had more than 0.2."""


def keep(segment: Segment, cfg: Config) -> bool:
    """The share is at most the maximum, or a separator has taken the noise away; unheard is not kept."""
    cleaned = segment.separated not in (None, "no", "passed")
    return cleaned or (segment.noise_ratio is not None and segment.noise_ratio <= limit(cfg.max, segment))
