"""Keep segments whose text can be followed through the sound: one that belongs to another recording cannot."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "align_score"


class Config(Manifest):
    min: Threshold = -3.6
    """Of 38 English clips, 5 of them noisy, right texts were above -3.5, and all of 76 texts of others below -3.8."""


def keep(segment: Segment, cfg: Config) -> bool:
    """The words fit the sound; a segment in a language that nobody can align passes."""
    return segment.align_score is None or segment.align_score >= limit(cfg.min, segment)
