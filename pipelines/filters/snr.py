"""Keep segments whose speech stands well above what is between it."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "snr_db"


class Config(Manifest):
    min: Threshold = 10.0


def keep(segment: Segment, cfg: Config) -> bool:
    """Speech is at least so many decibels above the background; a segment without a pause to measure in passes."""
    return segment.snr_db is None or segment.snr_db >= limit(cfg.min, segment)
