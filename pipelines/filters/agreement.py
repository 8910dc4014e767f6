"""Keep segments whose given text a recognizer confirms."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "heard_cer"


class Config(Manifest):
    max: Threshold = 0.5
    """Character error rate. Loose: it finds the texts of other clips, not typos, and stands accents and some noise."""


def keep(segment: Segment, cfg: Config) -> bool:
    """What was heard is near to what was given; a segment that no recognizer could check passes."""
    return segment.heard_cer is None or segment.heard_cer <= limit(cfg.max, segment)
