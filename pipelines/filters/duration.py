"""Keep segments of a length that training can use."""

from infra.manifest import Manifest
from pipelines.row import Segment

SCORE = "seconds"


class Config(Manifest):
    min: float = 1.0
    max: float = 30.0


def keep(segment: Segment, cfg: Config) -> bool:
    """Not too short to say anything, not too long for a sequence."""
    return cfg.min <= segment.seconds <= cfg.max
