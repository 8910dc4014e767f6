"""What the source of a segment's record says of each of its fields."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.row import OWNERS, Segment


@dataclass(frozen=True)
class Documented:
    """A field, and what its source says of it."""

    name: str
    type: str
    """`float` of `float | None`."""
    by: str
    """The transform that sets it; empty for what every segment has."""
    meaning: str
    """Of its docstring, on one line; empty where it has none."""


def documented() -> Iterator[Documented]:
    """The fields of a segment, in order."""
    (made,) = ast.parse(inspect.getsource(Segment)).body
    assert isinstance(made, ast.ClassDef)
    for item, after in zip(made.body, [*made.body[1:], None], strict=True):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        meaning = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            meaning = " ".join(str(after.value.value).split())
        name, kind = item.target.id, ast.unparse(item.annotation).removesuffix(" | None")
        yield Documented(name, kind, OWNERS[name] or "", meaning)
