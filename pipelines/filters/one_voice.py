"""Keep segments in which the voice does not change: no cut divides them into two that sound like different people."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "speaker_split_gain"


class Config(Manifest):
    max: Threshold = 1.15
    """Distance of the voices on both sides of the best cut; within what clips of one half of the
    LibriSpeech speakers allow (1.14 to 1.35), at its low end because of one pair of the other half (1.18)."""


def keep(segment: Segment, cfg: Config) -> bool:
    """No two parts sound like two people. A segment too short to divide passes."""
    return segment.speaker_split_gain is None or segment.speaker_split_gain <= limit(cfg.max, segment)
