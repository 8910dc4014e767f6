"""Keep segments whose first and last words are whole: a word that the cut has hit fits badly."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "edge_score"


class Config(Manifest):
    min: Threshold = -3.5
    """Finds about two thirds of the cuts through the middle of a word."""


def keep(segment: Segment, cfg: Config) -> bool:
    """The words at both ends fit the sound; a segment in a language that nobody can align passes."""
    return segment.edge_score is None or segment.edge_score >= limit(cfg.min, segment)
