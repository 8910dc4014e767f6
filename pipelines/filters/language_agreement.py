"""Keep segments whose text is in the language that the recording is said to be in."""

from infra.manifest import Manifest
from pipelines.row import Segment

SCORE = "language_agrees"


class Config(Manifest):
    known: bool = False
    """Whether short and doubtful texts are refused too."""


def keep(segment: Segment, cfg: Config) -> bool:
    """The text is in the language, or nobody can tell."""
    return bool(segment.language_agrees) if cfg.known else segment.language_agrees is not False
