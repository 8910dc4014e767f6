"""Keep segments of recordings that have the rate they were made at: upsampled ones teach a dull voice."""

from infra.manifest import Manifest
from pipelines.row import Segment

SCORE = "upsampled"


class Config(Manifest):
    from_hz: int = 24000
    """Recordings that once had this rate or a higher one are let by all the same; 48000 lets none by."""


def keep(segment: Segment, cfg: Config) -> bool:
    """Not upsampled, or from a rate that is high enough; unmeasured is not."""
    if segment.upsampled is None:
        return False
    return not segment.upsampled or (segment.upsampled_from_hz or 0) >= cfg.from_hz
