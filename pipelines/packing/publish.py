"""Publish a finished corpus to an object store, or to another folder: all of it is there, or nobody sees any of it.

    <target>/corpus.json               written last, where there is none: of all who publish there, one wins
    <target>/<16 hex digits>/...       index, shards and what is told of them, under a hash of all that they are
Two who publish different corpora at once write into different folders, and so never over each other's files.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.digests import file_digest
from infra.manifest import canonical
from infra.objects import CHUNK, Folder, Place
from pipelines.packing.layout import PACK, index_name, shard_path
from pipelines.shards import CorpusError, read_card

TOLD = ("funnel.json", "ledger.parquet", "audit.html")
"""What goes along where it is there: it tells of the corpus, and is no part of it."""


@dataclass(frozen=True)
class File:
    """A file of a corpus."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Published:
    """What was done."""

    at: str
    sent: int
    sent_bytes: int
    there: int
    """Files that an earlier attempt had sent."""
    won: bool
    """False where this very corpus was there already, or another publisher of it was faster."""


def publish(root: Path, target: Place, *, say: Callable[[str], None] = lambda _: None, at_once: int = 4) -> Published:
    """Send what is not there, or differs by its sha256; then corpus.json. Run again, it goes on where it stopped.

    Raises: CorpusError where something of it is taken down, a file is damaged, or another corpus is there.
    """
    card = read_card(root)
    refuse_hidden(root)
    at = hashlib.sha256(canonical(card).encode()).hexdigest()[:16]
    other = card_at(target)
    if other is not None and other.get("at") != at:
        raise CorpusError(taken(target, other, card))
    files = files_of(root, card)
    folder = target.inside(at)
    whole = sum(file.bytes for file in files)
    say(f"{card['name']}@{card['digest']}: {len(files)} files, {whole / 1e6:,.1f} MB to {target}")
    with ThreadPoolExecutor(at_once) as pool:
        new = list(pool.map(lambda file: send(root, folder, file), files))
    sent = [file.bytes for file, was_new in zip(files, new, strict=True) if was_new]
    refuse_hidden(root)  # it may have been taken down since; what was sent is seen by nobody yet
    text = json.dumps({**card, "at": at}, indent=2, ensure_ascii=False) + "\n"
    won = target.create("corpus.json", text.encode())
    if not won and (other := card_at(target)) is not None and other.get("at") != at:
        raise CorpusError(f"{taken(target, other, card)} (what was sent lies in {folder}, and can be removed)")
    return Published(at=at, sent=len(sent), sent_bytes=sum(sent), there=len(files) - len(sent), won=won)


def refuse_hidden(root: Path) -> None:
    """Raises: CorpusError where something of the corpus is taken down."""
    from pipelines.policy.redaction import count_unredacted
    from pipelines.policy.views import hidden_in

    if hidden := hidden_in(root):
        raise CorpusError(
            f"{root}: {hidden} of its samples are taken down, and would be published; "
            "write a version without them first (`stipple corpus compact`)"
        )
    if told := count_unredacted(root):
        raise CorpusError(
            f"{root}: {told} rows of its ledger, and perhaps its page, tell of what was taken down, and would be "
            "published; write a version without that first (`stipple corpus compact`)"
        )


def taken(target: Place, other: dict[str, Any], card: dict[str, Any]) -> str:
    """The sentence for a place where another corpus is."""
    theirs, ours = (f"{one['name']}@{one['digest']}" for one in (other, card))
    same = " with other files" if theirs == ours else ""
    return f"{target}: {theirs}{same} is published there, and stays; publish {ours} under another prefix"


def card_at(target: Place) -> dict[str, Any] | None:
    """What is published there; None where nothing is.

    Raises: CorpusError where it is no corpus.
    """
    return None if target.stored("corpus.json") is None else read_card(target)


def files_of(root: Path, card: dict[str, Any]) -> list[File]:
    """All files to send: the hashes of shards are those in the card, the others are worked out.

    Raises: CorpusError
    """
    shards = card["shards"]
    known = {shard_path(number): entry["sha256"] for number, entry in enumerate(shards)}
    known |= {f"{shard_path(number)}.idx": entry["index_sha256"] for number, entry in enumerate(shards)}
    rest = [index_name(pack) for pack in range(-(-len(shards) // PACK))]
    rest += [name for name in TOLD if (root / name).is_file()]
    try:
        known |= {name: file_digest(root / name) for name in rest}
        return [File(name, sha256, (root / name).stat().st_size) for name, sha256 in sorted(known.items())]
    except FileNotFoundError as error:
        raise CorpusError(f"{error.filename}: is missing; run `stipple corpus verify {root}`") from None


def send(root: Path, folder: Place, file: File) -> bool:
    """Send one file, unless it is there; its content is hashed on its way. Was it sent?

    Raises: CorpusError where it is not what corpus.json says.
    """
    there = folder.stored(file.name)
    if there is not None and (there.bytes, there.sha256) == (file.bytes, file.sha256):
        return False
    folder.put(file.name, checked(root, file), sha256=file.sha256)
    return True


def checked(root: Path, file: File) -> Iterator[bytes]:
    """The content of a file; raises before its end where its hash is another, so that nobody gets the whole of it."""
    state = hashlib.sha256()
    last = b""
    with Folder(root).open(file.name) as source:
        while chunk := source.read(CHUNK):
            state.update(chunk)
            if last:
                yield last
            last = chunk
    if state.hexdigest() != file.sha256:
        raise CorpusError(
            f"{root / file.name}: is damaged (its sha256 is {state.hexdigest()[:16]}, but should be "
            f"{file.sha256[:16]}); nothing of it was published"
        )
    yield last
