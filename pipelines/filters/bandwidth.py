"""Keep segments whose sound reaches high enough: narrow-band sources teach a dull voice, also when upsampled."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "bandwidth_hz"


class Config(Manifest):
    min: Threshold = 7000.0
    """Hertz. 16 kHz recordings reach about 7500, telephone 3400."""


def keep(segment: Segment, cfg: Config) -> bool:
    """The measured bandwidth is at least the minimum; unmeasured is not."""
    return segment.bandwidth_hz is not None and segment.bandwidth_hz >= limit(cfg.min, segment)
