"""Tables and cells in Markdown."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; `None.` where it has no row."""
    if not rows:
        return "None."
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def escaped(value: str) -> str:
    """Fit for a cell: no bars, breaks or tags."""
    return " ".join(value.split()).replace("|", "\\|").replace("<", "&lt;")
