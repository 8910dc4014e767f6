"""Is every byte of a corpus as it was written? Shards and rows against their hashes, samples against rows."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infra.objects import Folder, Place, place_of
from pipelines.packing.corpus_json import corpus_digest, index_digest
from pipelines.packing.layout import shard_path, strays_in
from pipelines.shards import Corpus, CorpusError, open_corpus, read_card

CHUNK = 8 * 2**20


def verify(root: str | Path | Place) -> list[str]:
    """What is wrong with the corpus in `root`, one sentence a problem; nothing when every byte is as it was written.

    Raises: CorpusError where there is no corpus.
    """
    place = place_of(root) if isinstance(root, str | Path) else root
    corpus, card = open_corpus(place, whole=True), read_card(place)
    wrong = []
    if (found := corpus_digest(card["shards"])) != corpus.digest:
        wrong.append(f"corpus.json: the digest of its shards is {found}, but it says {corpus.digest}")
    for number, entry in enumerate(card["shards"]):
        wrong += shard_mistakes(corpus, number, entry)
    if isinstance(corpus.place, Folder):
        strays = strays_in(corpus.place.root, shards=len(card["shards"]))
        wrong += [f"{name}: is not a file of this corpus" for name in strays]
    return wrong


def shard_mistakes(corpus: Corpus, number: int, entry: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one shard; its samples are looked at only where its files are what they should be."""
    path, good = shard_path(number), True
    for name, key in ((path, "sha256"), (f"{path}.idx", "index_sha256")):
        told = file_mistake(corpus.place, name, sha256=entry[key])
        if told:
            good = False
            yield told
    try:
        table = corpus.rows.shard(number)
    except CorpusError as error:
        yield str(error)
        return
    rows = table.to_pylist()
    if (found := index_digest(rows)) != entry["rows_sha256"]:
        yield f"{path}: its rows in the index have the sha256 {found[:16]}, but corpus.json says another"
        return
    first = corpus.rows.starts[number]
    if not good:
        return
    for position, row in enumerate(rows):
        told = sample_mistake(corpus, first + position, row)
        if told:
            yield told


def file_mistake(place: Place, name: str, *, sha256: str) -> str | None:
    """What is wrong with a file, if anything is."""
    state = hashlib.sha256()
    try:
        with place.open(name) as file:
            while chunk := file.read(CHUNK):
                state.update(chunk)
    except FileNotFoundError:
        return f"{name}: is missing"
    if state.hexdigest() == sha256:
        return None
    return f"{name}: its sha256 is {state.hexdigest()[:16]}, but corpus.json says {sha256[:16]}"


def sample_mistake(corpus: Corpus, number: int, row: Mapping[str, Any]) -> str | None:
    """Is the sample the one that its row describes, where the row says that it lies?"""
    try:
        sample = corpus.sample(number)
        block = corpus.place.span(shard_path(row["shard"]), row["flac_offset"], row["json_offset"] + row["json_bytes"])
    except CorpusError as error:
        return str(error)
    _, members = corpus.members(number)
    flac, text = block[: row["flac_bytes"]], block[row["json_offset"] - row["flac_offset"] :]
    length = row["end_sample"] - row["start_sample"]
    same = (
        sample.key == sample.record["key"] == row["key"]
        and len(sample.wave_S) == length
        and sample.rate_hz == row["rate_hz"]
        and bool(np.isfinite(sample.wave_S).all())
        and (flac, text) == (bytes(members["flac"]), bytes(members["json"]))
    )
    return None if same else f"{row['key']}: the sample is not the one that the index describes"
