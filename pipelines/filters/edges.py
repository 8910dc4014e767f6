"""Keep segments that begin and end in a pause: a cut through a word teaches clicks and half syllables."""

from infra.manifest import Manifest
from pipelines.row import Segment

SCORE = "edge_active"


class Config(Manifest):
    pass


def keep(segment: Segment, cfg: Config) -> bool:
    """No speech in the first and last 40 ms."""
    return not segment.edge_active
