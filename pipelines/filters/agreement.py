"""Keep segments whose given text a recognizer confirms."""

from infra.manifest import Manifest
from pipelines.row import Segment
from pipelines.thresholds import Threshold, limit

SCORE = "heard_cer"


class Config(Manifest):
    max: Threshold = 0.6
    """Character error rate. Loose, since the offline recognizer errs a lot itself: it finds wrong texts, not typos."""


def keep(segment: Segment, cfg: Config) -> bool:
    """What was heard is near to what was given; a segment that no recognizer could check passes."""
    return segment.heard_cer is None or segment.heard_cer <= limit(cfg.max, segment)
