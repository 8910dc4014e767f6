"""Keep segments recorded neither so low that they drown nor so loud that they hurt."""

from infra.manifest import Manifest
from pipelines.row import Segment

SCORE = "loudness_lufs"


class Config(Manifest):
    min: float = -45.0
    max: float = -8.0


def keep(segment: Segment, cfg: Config) -> bool:
    """Integrated loudness (ITU-R BS.1770) is within bounds; a segment too short to measure passes."""
    return segment.loudness_lufs is None or cfg.min <= segment.loudness_lufs <= cfg.max
