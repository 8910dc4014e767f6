"""Corpora as one numbered set of utterances: filters of the mixture, held-out split, text and waveform of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infra.manifest import digest
from infra.objects import Place
from pipelines.shards import Corpus, Sample, open_corpus, version_of
from training.data.collate import PATCH, RATE_HZ, Utterance, patches_of
from training.data.memory import recall, remember
from training.data.permutation import mixed
from training.manifest import Bound, Data, Part, Reads
from training.objectives import Stored

KEPT = ("numbers", "held_out", "patches", "latents", "languages", "hashes", "held_hashes")
"""What of a source is looked up in the index."""
WORDS: Mapping[Reads, tuple[tuple[str, ...], str]] = {
    "text": (("text_tts", "text"), "tts"),
    "caption": (("given_caption", "caption"), "text_to_audio"),
}
"""What the backbone is told -> the columns to look for it, the best first; and its template."""
FOUND = 3
"""Raised when other samples are found by the same manifest: what was kept before is then no longer taken."""


class DataError(ValueError):
    """Corpora that the stage cannot train on. The message is a sentence for a person."""


@dataclass(frozen=True)
class Source:
    """One part of the mixture: the samples of one corpus that are used, by their numbers in its index."""

    corpus: Corpus
    weight: float
    numbers: NDArray[np.int64]
    """Trained on."""
    held_out: NDArray[np.int64]
    """Validated on."""
    patches: NDArray[np.int32]
    """Length of every sample of the corpus in patches of 160 ms, after cropping, and with the silence that the
    objective puts behind a short one."""
    latents: bool
    """Do any samples have stored latents?"""
    languages: NDArray[np.str_]
    """Of the held-out samples; empty where nobody knows."""
    hashes: NDArray[np.uint64]
    """Of the keys of `numbers`: what is still known of a sample when its corpus is gone (training.heard)."""
    held_hashes: NDArray[np.uint64]
    """Of the keys of `held_out`."""
    role: str
    """Of the mixture's part, like the next."""
    reads: Reads
    found: str
    """Name of its folder in the memory of `open_sources`; empty where nothing was kept."""

    @cached_property
    def seconds(self) -> float:
        """Audio that is trained on, as long as `patches` say."""
        return float(self.patches[self.numbers].sum(dtype=np.int64)) * PATCH / RATE_HZ

    def read(self, number: int, *, wave: bool = True) -> Utterance:
        """Utterance `number` of the corpus; without `wave`, its FLAC is not decoded."""
        sample = self.corpus.sample(number, wave=wave)
        words, template = WORDS[self.reads]
        return Utterance(
            key=sample.key,
            wave_S=sample.wave_S,
            rate_hz=sample.rate_hz,
            text=first_of(sample.record, words),
            template=template,
            language=sample.record.get("language"),
            speaker=sample.record.get("speaker"),
            emotion=emotion_of(sample.record),
            stored=stored_of(sample),
        )


def first_of(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of these facts that is known; else empty."""
    return next((str(row[name]) for name in names if row.get(name)), "")


def emotion_of(row: Mapping[str, Any]) -> str | None:
    """The emotion that the corpus names, else the one that a captioner has heard; None where nobody has said a known
    one."""
    heard = (str(tag).removeprefix("emotion:") for tag in row.get("caption_tags") or () if tag.startswith("emotion:"))
    named = row.get("given_emotion") or next(heard, None)
    return None if named in (None, "other") else str(named)


def stored_of(sample: Sample) -> Stored | None:
    """The latents of a sample, where its shard has them."""
    by, mean_FD, log_std_FD = sample.record.get("latents_by"), sample.latent_FD, sample.latent_log_std_FD
    if by is None or mean_FD is None or log_std_FD is None:
        return None
    return Stored(by, *(torch.from_numpy(np.array(half, dtype=np.float32)) for half in (mean_FD, log_std_FD)))


def open_sources(
    data: Data,
    *,
    folders: Mapping[str, str | Path | Place],
    needs_text: bool,
    least_seconds: float = 0.0,
    memory: Path | None = None,
) -> list[Source]:
    """The parts of the mixture, opened and filtered; `folders` maps roles to corpora. No sample takes less of a step
    than `least_seconds`.

    In the folder `memory` is kept what was found, and taken from there where nothing has changed since: then no row of
    an index is read.

    Raises: DataError when a part has no sample left; CorpusError.
    """
    opened: dict[str, Corpus] = {}
    sources = []
    for part in data.mixture:
        if part.role not in folders:
            raise DataError(
                f"data.mixture names the role {part.role!r}, but the inputs are: {', '.join(folders) or 'none'}"
            )
        folder = folders[part.role]
        asked: dict[str, Any] = {"data": data, "needs_text": needs_text, "least_seconds": least_seconds}
        name = "" if memory is None else found_by(folder, part, **asked)
        place = None if memory is None else memory / name
        found = None if place is None else recall(place, names=KEPT)
        if found is not None:
            corpus = opened.get(part.role) or as_seen(open_corpus(folder, whole=True), found)
            known: dict[str, Any] = {**found, "latents": bool(found["latents"])}
            arrays = {key: known[key] for key in KEPT}
            source = Source(corpus=corpus, weight=part.weight, role=part.role, reads=part.reads, found=name, **arrays)
        else:
            corpus = opened.get(part.role) or open_corpus(folder)
            source = replace(source_of(corpus, part, **asked), found=name)
            if place is not None:
                remember(place, arrays_of(source))
        opened[part.role] = corpus
        sources.append(source)
    return sources


def found_by(folder: str | Path | Place, part: Part, *, data: Data, needs_text: bool, least_seconds: float) -> str:
    """All that decides which samples a part has, as 32 hex digits; no row of the index is read."""
    facts = data.model_dump(mode="json", include={"min_clip_seconds", "max_clip_seconds", "held_out"})
    facts |= part.model_dump(mode="json", include={"tiers", "where", "reads"})
    return digest([FOUND, version_of(folder), facts, needs_text, least_seconds])[:32]


def arrays_of(source: Source) -> dict[str, NDArray[Any]]:
    """What is kept of a source: as much as 12 bytes a sample."""
    arrays: dict[str, NDArray[Any]] = {name: np.asarray(getattr(source, name)) for name in KEPT}
    seen = source.corpus.rows.numbers
    return arrays if seen is None else {**arrays, "seen": seen}


def as_seen(corpus: Corpus, found: Mapping[str, NDArray[Any]]) -> Corpus:
    """The whole corpus, without what tombstones and selections hide."""
    return replace(corpus, rows=corpus.rows.only(found["seen"])) if "seen" in found else corpus


def source_of(corpus: Corpus, part: Part, *, data: Data, needs_text: bool, least_seconds: float) -> Source:
    """One part of the mixture, by whole columns of the index."""
    seconds_N = np.asarray(corpus.seconds)
    used_N = (seconds_N >= data.min_clip_seconds) & chosen(corpus, part)
    if needs_text:
        used_N &= (seconds_N <= data.max_clip_seconds) & has_any(corpus, WORDS[part.reads][0])
    used = np.flatnonzero(used_N)
    if not len(used):
        asked = f"{data.min_clip_seconds:g} to {data.max_clip_seconds:g} s" + (
            f", with {part.reads}" if needs_text else ""
        )
        raise DataError(
            f"corpus {corpus.name} has {len(corpus)} samples and none fits ({asked}"
            f"{', and the filters of the mixture' if part.tiers or part.where else ''})"
        )
    facts = corpus.rows.columns("latents_by", "language")
    hashes = hashes_of(corpus.rows.columns("key")["key"].take(used))
    held = lowest(hashes, share=data.held_out)
    if held.all():
        raise DataError(f"corpus {corpus.name}: all {len(used)} samples that fit are held out; lower data.held_out")
    return Source(
        corpus=corpus,
        weight=part.weight,
        numbers=used[~held],
        held_out=used[held],
        patches=patches_of(np.maximum(np.minimum(seconds_N, data.max_clip_seconds), least_seconds)).astype(np.int32),
        latents=facts["latents_by"].null_count < len(corpus),
        hashes=hashes[~held],
        held_hashes=hashes[held],
        role=part.role,
        reads=part.reads,
        found="",
        languages=np.array([word or "" for word in facts["language"].take(used[held]).to_pylist()], dtype=np.str_),
    )


def chosen(corpus: Corpus, part: Part) -> NDArray[np.bool_]:
    """Which samples pass the filters of the part."""
    wanted: list[tuple[str, Bound | Sequence[str | int | bool]]] = [*part.where.items()]
    if part.tiers is not None:
        wanted.append(("tier", part.tiers))
    passes_N = np.ones(len(corpus), dtype=np.bool_)
    for column, values in wanted:
        coded = corpus.rows.columns(column)[column].combine_chunks().dictionary_encode()
        known = coded.dictionary.to_pylist()
        if all(value is None for value in known):
            raise DataError(f"corpus {corpus.name}: the mixture asks for {column}, and no sample has one")
        if isinstance(values, Bound) and not all(isinstance(value, int | float) for value in known):
            raise DataError(
                f"corpus {corpus.name}: the mixture asks for an interval of {column}, which is {known[0]!r}; name "
                f"values, like {column}: [{known[0]}]"
            )
        passes = np.array([inside(value, values) for value in known] + [False], dtype=np.bool_)
        passes_N &= passes[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return passes_N


def has_any(corpus: Corpus, names: Sequence[str]) -> NDArray[np.bool_]:
    """Which samples have words in any of these columns."""
    import pyarrow
    from pyarrow import compute

    has_N = np.zeros(len(corpus), dtype=np.bool_)
    for form in corpus.rows.columns(*names).itercolumns():
        length = compute.binary_length(form.cast(pyarrow.string())).fill_null(0)
        has_N |= length.to_numpy() > 0
    return has_N


def inside(value: Any, wanted: Bound | Sequence[str | int | bool]) -> bool:
    """Is a score among the values, or in the interval?"""
    if not isinstance(wanted, Bound):
        return value in wanted
    return (wanted.min is None or value >= wanted.min) and (wanted.max is None or value <= wanted.max)


def lowest(hashes: NDArray[np.uint64], *, share: float) -> NDArray[np.bool_]:
    """Which hashes, as numbers in [0, 1), lie below `share`; and of eight or more at least the lowest one.

    A key stays on its side when the corpus grows (but for that lowest one, in a corpus too small for the share).
    """
    places = (hashes >> np.uint64(11)).astype(np.float64) / 2**53
    held = places < share
    if share > 0 and not held.any() and len(places) >= 8:
        held[int(places.argmin())] = True
    return np.asarray(held, dtype=np.bool_)


def hashes_of(keys: Any) -> NDArray[np.uint64]:
    """64 bits for every key, from the key alone; a million keys take a tenth of a second."""
    words_NW = words_of(keys)
    hash_N = np.zeros(len(words_NW), dtype=np.uint64)
    for word_N in words_NW.T:
        hash_N = np.where(word_N != 0, mixed(hash_N + word_N), hash_N)
    return hash_N


def words_of(keys: Any) -> NDArray[np.uint64]:
    """The bytes of every key, padded with zeros, eight in a word."""
    import pyarrow
    from pyarrow import compute

    column = keys.combine_chunks() if isinstance(keys, pyarrow.ChunkedArray) else pyarrow.array(keys)
    length = compute.binary_length(column).to_numpy()
    width = int(length.max())
    words = -(-width // 8)
    padded = np.zeros((len(column), words * 8), dtype=np.uint8)
    if (length == width).all():  # as the keys of a corpus are: their bytes lie side by side
        flat = np.frombuffer(column.buffers()[2], dtype=np.uint8)
        start = column.offset * width
        padded[:, :width] = flat[start : start + len(column) * width].reshape(len(column), width)
    else:
        texts = np.array([key.encode() for key in column.to_pylist()], dtype=f"S{width}")
        padded[:, :width] = texts.view(np.uint8).reshape(len(column), width)
    return padded.view("<u8")


def seconds_of(sources: Sequence[Source]) -> float:
    """Audio that is trained on, in seconds, after cropping."""
    return sum(source.seconds for source in sources)
