"""Keep segments that sound clean to a model of listeners' opinions."""

from infra.manifest import Manifest
from pipelines.policy.thresholds import Threshold, limit
from pipelines.row import Segment

SCORE = "mos_overall"


class Config(Manifest):
    min: Threshold = 2.5
    """Of 5, on the scale of the model named in `mos_by`; models differ, languages too (`stipple corpus calibrate`)."""


def keep(segment: Segment, cfg: Config) -> bool:
    """The predicted overall opinion is at least the minimum; unscored is not."""
    return segment.mos_overall is not None and segment.mos_overall >= limit(cfg.min, segment)
