"""What readers see of a corpus: not what tombstones hide, and of a selection, only what its policy names.

A selection, in a folder of its own, can be opened wherever a corpus can:
    selection.json       format, name, digest; the corpus (name, digest, where it lies); the policy, and its digest
    selection.parquet    key and tier of every sample of it
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from infra.locks import alone_in
from infra.manifest import digest as canonical_digest
from infra.objects import Folder, Place
from infra.workflow.node import Refused
from pipelines.packing.index import Rows, large
from pipelines.policy.tombstones import Tombstone, published_tombstones, tombstones_of
from pipelines.policy.withdrawn import NEEDED, Withdrawn
from pipelines.shards import CorpusError

if TYPE_CHECKING:
    from pipelines.shards import Corpus

FORMAT = "stipple-selection/1"
CARD = "selection.json"
TABLE = "selection.parquet"

BATCH = 65_536


@dataclass(frozen=True)
class View:
    """The samples that are seen."""

    numbers: NDArray[np.int64]
    """Of the samples, in the index, ascending."""
    tiers: tuple[str, ...] | None
    """Of each one, where a selection gives them."""
    digest: str
    licenses: tuple[str, ...]
    hidden: int
    """Samples that tombstones hide."""


def view_of(
    rows: Rows, *, name: str, digest: str, tombstones: Sequence[Tombstone], selection: Path | None = None
) -> View | None:
    """What is to be seen of a corpus, or of a selection of it; None where all of it is.

    Raises: CorpusError for a selection of another corpus, or one that cannot be read.
    """
    from pyarrow import compute

    withdrawn = Withdrawn(tombstones, name)
    if not withdrawn and selection is None:
        return None
    inside, places = np.ones(len(rows), dtype=bool), None
    if selection is not None:
        card, chosen = read_selection(selection)
        if card["corpus"]["digest"] != digest:
            made_of = f"{card['corpus']['name']}@{card['corpus']['digest']}"
            raise CorpusError(f"{selection}: selects from {made_of}, not from {name}@{digest}; make it again")
        digest = str(card["digest"])
        at = compute.index_in(rows.columns("key")["key"], value_set=large(chosen["key"]).combine_chunks())
        inside, places = np.asarray(at.is_valid().to_numpy(zero_copy_only=False)), at
    keys, licenses, begin = list[str](), set[str](), 0
    for table in rows.tables(*NEEDED, "pcm_sha256", "license"):
        part, dead = inside[begin : begin + table.num_rows], withdrawn.numbers(table) >= 0
        keys += table["key"].filter(part & dead).to_pylist()
        part &= ~dead  # and of `inside`, which it is a part of
        licenses |= set(map(str, table["license"].filter(part).unique().to_pylist()))
        begin += table.num_rows
    if keys:
        gone = hashlib.sha256(digest.encode())
        for key in sorted(keys):
            gone.update(f"\n{key}".encode())
        digest = gone.hexdigest()[:32]
    elif selection is None:
        return None
    tiers = None if places is None else shared(chosen["tier"].take(places.filter(inside)))
    return View(np.flatnonzero(inside), tiers, digest, tuple(sorted(licenses)), len(keys))


def shared(column: Any) -> tuple[str, ...]:
    """The texts of a column in which few differ, each of these once in memory."""
    coded = column.combine_chunks().dictionary_encode()
    return tuple(map(coded.dictionary.to_pylist().__getitem__, coded.indices.to_pylist()))


def read_selection(folder: Path) -> tuple[dict[str, Any], Any]:
    """Card and table of a selection.

    Raises: CorpusError
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with alone_in(folder, reading=True):  # it may be written anew, which is two files
            card = selection_card(folder)
            table = parquet.read_table(folder / TABLE)
    except (OSError, pyarrow.ArrowException) as error:
        raise CorpusError(f"{folder}: cannot be read as a selection ({error})") from None
    if selection_digest(card["corpus"]["digest"], table) != card["digest"]:
        raise CorpusError(f"{folder}: {TABLE} is not what {CARD} says; make the selection again")
    return card, table


def selection_card(folder: Path) -> dict[str, Any]:
    """selection.json alone.

    Raises: CorpusError
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{folder}: cannot be read as a selection ({error})") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise CorpusError(f"{folder / CARD}: not the card of a selection in format {FORMAT}")
    return card


def selection_digest(corpus: str, table: Any) -> str:
    """The version of a selection, 32 hex digits: sha256 over the corpus's digest, and the keys and tiers, by key."""
    state = hashlib.sha256(corpus.encode())
    for batch in table.sort_by([("key", "ascending"), ("tier", "ascending")]).to_batches(max_chunksize=BATCH):
        pairs = zip(batch["key"].to_pylist(), batch["tier"].to_pylist(), strict=True)
        state.update("".join(f"\n{key} {tier}" for key, tier in pairs).encode())
    return state.hexdigest()[:32]


def corpus_and_selection(root: Path, selection: str | Path | None) -> tuple[Path, Path | None]:
    """Where the corpus lies, and the selection; where `root` is a selection, its corpus.

    Raises: CorpusError
    """
    if selection is not None or not (root / CARD).is_file():
        return root, None if selection is None else Path(selection)
    card = selection_card(root)
    place = (root / str(card["corpus"]["path"])).resolve()
    if not (place / "corpus.json").is_file():
        raise CorpusError(f"{root}: selects from {card['corpus']['name']}, which is not at {place} any more")
    return place, root


def seen(corpus: "Corpus", place: Place, *, selection: Path | None) -> "Corpus":
    """The corpus in `place`, without what tombstones hide; of a selection, what it names.

    Raises: CorpusError
    """
    view = view_of(
        corpus.rows,
        name=corpus.name,
        digest=corpus.digest,
        tombstones=tombstones_in(place),
        selection=selection,
    )
    if view is None:
        return corpus
    rows = corpus.rows.only(view.numbers, tiers=view.tiers)
    return replace(corpus, digest=view.digest, licenses=view.licenses, rows=rows)


def tombstones_in(place: Place) -> list[Tombstone]:
    """All tombstones that may concern the corpus in `place`, each once.

    Raises: CorpusError
    """
    local = tombstones_of(place.root) if isinstance(place, Folder) else []
    return list({item.id: item for item in [*published_tombstones(place), *local]}.values())


def version_in(place: Place, *, digest: str, selection: Path | None) -> str:
    """See `pipelines.shards.version_of`.

    Raises: CorpusError
    """
    facts = [digest, None if selection is None else selection_card(selection)["digest"]]
    return canonical_digest([facts, sorted((item.decision, item.spans) for item in tombstones_in(place))])[:32]


def hidden_in(root: Path) -> int:
    """Samples of the corpus in `root` that tombstones hide."""
    from pipelines.shards import open_corpus

    return len(open_corpus(root, whole=True)) - len(open_corpus(root))


def refuse_if_hidden_since(root: Path, corpus: "Corpus", out: Path) -> None:
    """Has something been hidden in the corpus (or selection) in `root` since it was opened as `corpus`? Then what was
    written of it into `out` holds that.

    Raises: Refused
    """
    from pipelines.shards import open_corpus

    if open_corpus(root).digest != corpus.digest:
        raise Refused(
            f"{out}: more of {corpus.name} was taken down while it was written; remove it, and run this again"
        )
