"""Keep segments on whose text everybody agrees: recognizers among themselves, and with a given text."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "cer_mean"


class Config(Manifest):
    max: Threshold = 0.15
    """Mean character error rate over all pairs of texts. Tiers in use: 0.05, 0.10, 0.15, with recognizers that are fit
    to label; with PocketSphinx among them, no pair is that near."""


def keep(segment: Segment, cfg: Config) -> bool:
    """The texts differ little; a segment with less than two of them passes."""
    return segment.cer_mean is None or segment.cer_mean <= limit(cfg.max, segment)
