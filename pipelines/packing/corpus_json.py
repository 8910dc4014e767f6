"""corpus.json, the card of a corpus: what it says of its shards and their rows, checked before it is believed."""

import json
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from infra.manifest import canonical
from infra.objects import Folder, Place, place_of
from pipelines.packing.layout import CorpusError, shard_name

FORMAT = "stipple-corpus/2"
KINDS = {"name": str, "digest": str, "samples": int, "hours": float, "licenses": list, "shards": list}
"""Fields that every card has, and what they are."""
SHA256 = re.compile(r"[0-9a-f]{64}")
AT = re.compile(r"[0-9a-f]{16}")


def index_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """sha256 over the canonical JSON of index rows, one line a row: what a shard's entry says of its rows."""
    state = sha256()
    for row in rows:
        state.update(canonical(row).encode() + b"\n")
    return state.hexdigest()


def corpus_digest(shards: Iterable[Mapping[str, Any]]) -> str:
    """The version of a corpus, 32 hex digits: sha256 over what the entries of its shards say of their rows."""
    state = sha256()
    for shard in shards:
        state.update(f"{shard['rows_sha256']}\n".encode())
    return state.hexdigest()[:32]


def read_card(root: str | Path | Place) -> dict[str, Any]:
    """corpus.json of the corpus in `root`. Shards are known by their number: no name in it becomes a path.

    Raises: CorpusError
    """
    place = place_of(root) if isinstance(root, str | Path) else root
    try:
        card = json.loads(place.read("corpus.json"))
    except (FileNotFoundError, NotADirectoryError):
        raise CorpusError(f"{place}: {without_card(place)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CorpusError(f"{place}/corpus.json: cannot be read ({error})") from None
    if wrong := mistake(card):
        raise CorpusError(f"{place}/corpus.json: {wrong}")
    known: dict[str, Any] = card
    return known


def without_card(place: Place) -> str:
    """What a place is that has no corpus.json."""
    if isinstance(place, Folder) and (place.root / "selection.json").is_file():
        return "is a selection; name its corpus, or make a corpus of it (`stipple corpus compact`)"
    if isinstance(place, Folder) and not place.root.is_dir():
        return "is not a folder"
    return "has no corpus.json: not a corpus, or its build did not finish"


def mistake(card: Any) -> str | None:
    """What is wrong with a card, if anything is."""
    was = card.get("format") if isinstance(card, dict) else None
    if was != FORMAT:
        again = "; build it again" if str(was).startswith("stipple-corpus/") else ""
        return f"not the card of a corpus in format {FORMAT}{again}"
    for key, kind in KINDS.items():
        if not isinstance(card.get(key), kind):
            return f"{key} should be a {kind.__name__}, but is {card.get(key)!r:.60}"
    if "at" in card and not (isinstance(card["at"], str) and AT.fullmatch(card["at"])):
        return f"`at` should be 16 hex digits, but is {card['at']!r:.60}"
    for number, shard in enumerate(card["shards"]):
        entry = shard if isinstance(shard, dict) else {}
        if entry.get("name") != shard_name(number):
            return f"shard {number} should be {shard_name(number)}, but is {entry.get('name')!r:.60}"
        hashes = (entry.get("sha256"), entry.get("index_sha256"), entry.get("rows_sha256"))
        if not all(isinstance(value, str) and SHA256.fullmatch(value) for value in hashes):
            return f"shard {number} has no hashes of its files"
        if not all(isinstance(entry.get(key), int) and entry[key] >= 0 for key in ("bytes", "samples")):
            return f"shard {number} does not say how many bytes and samples it has"
    if sum(shard["samples"] for shard in card["shards"]) != card["samples"]:
        return f"says {card['samples']} samples, but its shards have another number"
    return None
