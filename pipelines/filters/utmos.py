"""Keep segments that sound natural to a model of listeners in listening tests."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "utmos"


class Config(Manifest):
    min: Threshold = 3.4
    """Of 5. NeMo Curator takes 4.0 for synthesis, 3.4 by default, 2.5 to keep most; trained on English alone."""


def keep(segment: Segment, cfg: Config) -> bool:
    """The predicted naturalness is at least the minimum; unscored is not."""
    return segment.utmos is not None and segment.utmos >= limit(cfg.min, segment)
