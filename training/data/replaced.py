"""The corpora of a stage stay what they were when it began; one that another takes the place of ends it in a sentence.

What tombstones hide is no other corpus: it is obeyed at the next start.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from infra.objects import Folder
from pipelines.shards import Corpus, CorpusError, card_digest

Mark = tuple[int, int, int] | None


def refuse_replaced(folders: Mapping[str, str], *, digests: Mapping[str, str]) -> None:
    """Hold what the cards in `folders` say against the digests that the stage was planned with, both by role.

    Raises: CorpusError
    """
    for role, digest in digests.items():
        now = card_digest(folders[role])
        if now != digest:
            raise CorpusError(
                f"{folders[role]}: another corpus, or selection, lies there than the one that this stage was begun "
                f"with ({now[:8]}, and not {digest[:8]}); bring that one back, or begin a new stage by running it again"
            )


class Cards:
    """Cards of corpora in folders, as they were: one `stat` a look."""

    def __init__(self, corpora: Iterable[Corpus]) -> None:
        places = {one.place.root / "corpus.json" for one in corpora if isinstance(one.place, Folder)}
        self.marks = {path: mark_of(path) for path in sorted(places)}

    def stop_if_replaced(self) -> None:
        """Raises: CorpusError where a card is gone, or another one, since these were made."""
        for path, mark in self.marks.items():
            if mark_of(path) != mark:
                raise CorpusError(
                    f"{path.parent}: was removed, or another corpus put in its place, while a stage trained on it; "
                    "bring it back and run again to go on from the newest checkpoint, or begin anew with what is there"
                )


def mark_of(path: Path) -> Mark:
    """What changes with every file that is put in place of another; None where none is."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)
