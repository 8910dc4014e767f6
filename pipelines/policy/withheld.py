"""What a build may not keep, whatever its scores: what was taken down, and what its license does not allow."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.policy.licenses import Use, refused
from pipelines.policy.tombstones import read_tombstones, store_list
from pipelines.policy.withdrawn import Withdrawn

Refusal = tuple[str, str]
"""Name of the reason (`takedown`, `near_duplicate`, `evaluation_overlap`, `license`), and all of it for people."""


def withholding(
    *, corpus: str, store: Path | None, allow: Sequence[Use] = ()
) -> Callable[[Mapping[str, Any]], Refusal | None]:
    """What says of a segment's row why it is withheld from a corpus of this name, or None where it is not.

    `store` is the store that it is built into (for its tombstones), `allow` the uses that its licenses must allow.
    """
    withdrawn = Withdrawn(read_tombstones(store_list(store)) if store is not None else [], corpus)
    license_refused = cache(lambda name: refused(name, allow))

    def why(row: Mapping[str, Any]) -> Refusal | None:
        item = withdrawn.of(row) if withdrawn else None
        if item is not None:
            return item.reason, f"{item.reason}: {item.told}"
        told = license_refused(str(row["license"])) if allow else None
        return ("license", f"license: {told}") if told else None

    return why
