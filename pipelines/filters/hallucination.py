"""Keep segments whose text looks like something that somebody said: no loops, no subtitle phrases, no endless words."""

from infra.manifest import Manifest
from pipelines.row import Segment

SCORE = "hallucination"


class Config(Manifest):
    ignore: list[str] = []
    """Names of rules (pipelines/hearing/consistency.py) that are not to count."""


def keep(segment: Segment, cfg: Config) -> bool:
    """No rule applies to the text; a segment without text passes: `has_text` is its judge."""
    return not set(segment.hallucination or ()) - set(cfg.ignore)
