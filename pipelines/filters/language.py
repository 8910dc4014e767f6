"""Keep segments in the languages that are wanted."""

from infra.manifest import Manifest
from pipelines.row import Segment

SCORE = "language"


class Config(Manifest):
    allow: list[str] = []
    """Language codes such as `en`; all languages where the list is empty."""
    known: bool = True
    """Whether the language must be known."""


def keep(segment: Segment, cfg: Config) -> bool:
    """The language is known, and one of those allowed."""
    if segment.language is None:
        return not cfg.known and not cfg.allow
    return not cfg.allow or segment.language.split("-")[0].lower() in {code.lower() for code in cfg.allow}
