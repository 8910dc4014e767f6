"""What a build may not keep, whatever its scores: what was taken down, and what its license does not allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.policy.licenses import Use, refused
from pipelines.policy.tombstones import read_tombstones, store_list
from pipelines.policy.withdrawn import Withdrawn

Refusal = tuple[str, str]
"""Name of the reason (`takedown`, `near_duplicate`, `evaluation_overlap`, `license`), and all of it for people."""


@dataclass(frozen=True)
class Withholding:
    """What says of a segment's row why it is withheld from a corpus, or None where it is not."""

    withdrawn: Withdrawn
    allow: tuple[Use, ...]
    """The uses that its licenses must allow."""

    def __call__(self, row: Mapping[str, Any]) -> Refusal | None:
        item = self.withdrawn.of(row) if self.withdrawn else None
        if item is not None:
            return item.reason, f"{item.reason}: {item.told}"
        told = refused_once(str(row["license"]), self.allow) if self.allow else None
        return ("license", f"license: {told}") if told else None


refused_once = lru_cache(4096)(refused)


def withholding(*, corpus: str, store: Path | None, allow: Sequence[Use] = ()) -> Withholding:
    """For a corpus of this name, by the tombstones of the store that it is built into."""
    tombstones = read_tombstones(store_list(store)) if store is not None else []
    return Withholding(Withdrawn(tombstones, corpus), tuple(allow))
