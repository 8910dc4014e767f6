"""Keep segments whose caption says nothing that the measures deny."""

from infra.manifest import Manifest
from pipelines.row import Segment

SCORE = "caption_conflicts"


class Config(Manifest):
    max: int = 0


def keep(segment: Segment, cfg: Config) -> bool:
    """At most so many contradictions; without a caption there is none to trust."""
    return segment.caption_conflicts is not None and len(segment.caption_conflicts) <= cfg.max
