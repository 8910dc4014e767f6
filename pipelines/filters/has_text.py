"""Keep segments of which somebody knows the text."""

from infra.manifest import Manifest
from pipelines.row import Segment

SCORE = "text"


class Config(Manifest):
    min_characters: int = 2
    by: list[str] = []
    """Who may have written it (`given`, a recognizer's name); anybody where the list is empty."""


def keep(segment: Segment, cfg: Config) -> bool:
    """There is text, and it is by somebody trusted."""
    long_enough = segment.text is not None and len(segment.text.strip()) >= cfg.min_characters
    return long_enough and (not cfg.by or segment.text_by in cfg.by)
