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
from pipelines.shards import Corpus, CorpusError, Sample, open_corpus, version_of
from training.data.collate import Utterance, patches_of, seconds_of_patches
from training.data.holdout import COLUMNS, Identities, Split, divided, hashes_of, identities
from training.data.memory import recall, remember
from training.manifest import Bound, Data, Part, Reads
from training.objectives import Stored

KEPT = ("numbers", "held_out", "patches", "latents", "languages", "hashes", "held_hashes", "held_by", "aside")
"""What of a source is looked up in the index."""
WORDS: Mapping[Reads, tuple[tuple[str, ...], str]] = {
    "text": (("text_tts", "text"), "tts"),
    "caption": (("given_caption", "caption"), "text_to_audio"),
}
"""What the backbone is told -> the columns to look for it, the best first; and its template."""
FOUND = 4
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
    held_by: str
    """What was held out as a whole: `speaker`, `recording` or `sample` (training.data.holdout)."""
    aside: int
    """Samples that are neither trained nor validated on, so that the two stay apart."""
    role: str
    """Of the mixture's part, like the next."""
    reads: Reads
    found: str
    """Name of its folder in the memory of `open_sources`; empty where nothing was kept."""

    @cached_property
    def seconds(self) -> float:
        """Audio that is trained on, as long as `patches` say."""
        return seconds_of_patches(int(self.patches[self.numbers].sum(dtype=np.int64)))

    def read(self, number: int, *, wave: bool = True) -> Utterance:
        """Utterance `number` of the corpus; without `wave`, its FLAC is not decoded.

        Raises: CorpusError, also where its shard has another sample in that place than the index had.
        """
        sample = self.corpus.sample(number, wave=wave)
        if hashes_of([sample.key])[0] != self.hash_of(number):
            told = f"{self.corpus.place}: sample {number} is {sample.key}, and was another one when its index was read"
            raise CorpusError(f"{told}; run `stipple corpus verify`")
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

    def hash_of(self, number: int) -> np.uint64:
        """Of the key of a sample that is trained or validated on."""
        for numbers, hashes in ((self.numbers, self.hashes), (self.held_out, self.held_hashes)):
            at = int(np.searchsorted(numbers, number))
            if at < len(numbers) and numbers[at] == number:
                return np.uint64(hashes[at])
        raise IndexError(f"sample {number} is not used")


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
    for part in data.mixture:
        if part.role not in folders:
            raise DataError(
                f"data.mixture names the role {part.role!r}, but the inputs are: {', '.join(folders) or 'none'}"
            )
    asked: dict[str, Any] = {"needs_text": needs_text, "least_seconds": least_seconds}
    if memory is None:
        return looked_up(data, folders=folders, **asked)
    names = found_by(data, folders=folders, **asked)
    found = [arrays for name in names if (arrays := recall(memory / name, names=KEPT)) is not None]
    if len(found) == len(names):
        return recalled(data, folders=folders, names=names, found=found)
    sources = [
        replace(source, found=name)
        for source, name in zip(looked_up(data, folders=folders, **asked), names, strict=True)
    ]
    for source in sources:
        remember(memory / source.found, arrays_of(source))
    return sources


def recalled(
    data: Data,
    *,
    folders: Mapping[str, str | Path | Place],
    names: Sequence[str],
    found: Sequence[Mapping[str, NDArray[Any]]],
) -> list[Source]:
    """The parts of the mixture as they were found before: their names in the memory, and what is kept there."""
    opened: dict[str, Corpus] = {}
    sources = []
    for part, name, arrays in zip(data.mixture, names, found, strict=True):
        corpus = opened.get(part.role) or as_seen(open_corpus(folders[part.role], whole=True), arrays)
        opened[part.role] = corpus
        known: dict[str, Any] = {key: arrays[key] if arrays[key].ndim else arrays[key].item() for key in KEPT}
        sources.append(Source(corpus=corpus, weight=part.weight, role=part.role, reads=part.reads, found=name, **known))
    return sources


def looked_up(
    data: Data, *, folders: Mapping[str, str | Path | Place], needs_text: bool, least_seconds: float
) -> list[Source]:
    """The parts of the mixture, by whole columns of the indexes."""
    opened = {role: open_corpus(folders[role]) for role in dict.fromkeys(part.role for part in data.mixture)}
    corpora = [opened[part.role] for part in data.mixture]
    used = [
        usable(corpus, part, data=data, needs_text=needs_text)
        for corpus, part in zip(corpora, data.mixture, strict=True)
    ]
    known = [
        identities(corpus.rows.columns(*COLUMNS).take(own), corpus=corpus.name)
        for corpus, own in zip(corpora, used, strict=True)
    ]
    splits = divided(known, share=data.held_out)
    rows = zip(corpora, data.mixture, used, known, splits, strict=True)
    return [source_of(*one, data=data, least_seconds=least_seconds) for one in rows]


def found_by(
    data: Data, *, folders: Mapping[str, str | Path | Place], needs_text: bool, least_seconds: float
) -> list[str]:
    """All that decides which samples each part has, as 32 hex digits, the other parts included; no row of the index is
    read."""
    facts = data.model_dump(mode="json", include={"min_clip_seconds", "max_clip_seconds", "held_out"})
    filters = [part.model_dump(mode="json", include={"role", "tiers", "where", "reads"}) for part in data.mixture]
    versions = {role: version_of(folders[role]) for role in sorted({part.role for part in data.mixture})}
    every = [FOUND, versions, facts, filters, needs_text, least_seconds]
    return [digest([*every, number])[:32] for number in range(len(filters))]


def arrays_of(source: Source) -> dict[str, NDArray[Any]]:
    """What is kept of a source: as much as 12 bytes a sample."""
    arrays: dict[str, NDArray[Any]] = {name: np.asarray(getattr(source, name)) for name in KEPT}
    seen = source.corpus.rows.numbers
    return arrays if seen is None else {**arrays, "seen": seen}


def as_seen(corpus: Corpus, found: Mapping[str, NDArray[Any]]) -> Corpus:
    """The whole corpus, without what tombstones and selections hide."""
    return replace(corpus, rows=corpus.rows.only(found["seen"])) if "seen" in found else corpus


def usable(corpus: Corpus, part: Part, *, data: Data, needs_text: bool) -> NDArray[np.int64]:
    """Numbers of the samples that fit a part of the mixture.

    Raises: DataError when none does.
    """
    seconds_N = np.asarray(corpus.seconds)
    used_N = (seconds_N >= data.min_clip_seconds) & chosen(corpus, part)
    if needs_text:
        used_N &= (seconds_N <= data.max_clip_seconds) & has_any(corpus, WORDS[part.reads][0])
    used = np.flatnonzero(used_N)
    if not len(used):
        asked = f"{data.min_clip_seconds:g} to {data.max_clip_seconds:g} s" + (
            f", with {part.reads}" if needs_text else ""
        )
        asked += "".join(f", with the mixture's {key}" for key in part.where)
        if part.tiers is not None:
            there = sorted({str(tier) for tier in corpus.rows.columns("tier")["tier"].unique().to_pylist()})
            asked += f", of the tiers {', '.join(part.tiers)}, where the corpus has {', '.join(there)}"
        raise DataError(f"corpus {corpus.name} has {len(corpus)} samples and none fits ({asked})")
    return used


def source_of(
    corpus: Corpus,
    part: Part,
    used: NDArray[np.int64],
    known: Identities,
    split: Split,
    *,
    data: Data,
    least_seconds: float,
) -> Source:
    """One part of the mixture, of the samples that fit and how they are divided.

    Raises: DataError when none is left to train on.
    """
    held, trained = split.held_N, ~(split.held_N | split.aside_N)
    if not trained.any():
        also = ", here or in another part of the mixture" if split.aside_N.any() else ""
        raise DataError(
            f"corpus {corpus.name}: all {len(used)} samples that fit are held out{also}; lower data.held_out"
        )
    facts = corpus.rows.columns("latents_by", "language")
    seconds_N = np.asarray(corpus.seconds)
    return Source(
        corpus=corpus,
        weight=part.weight,
        numbers=used[trained],
        held_out=used[held],
        patches=patches_of(np.maximum(np.minimum(seconds_N, data.max_clip_seconds), least_seconds)).astype(np.int32),
        latents=facts["latents_by"].null_count < len(corpus),
        hashes=known.key_N[trained],
        held_hashes=known.key_N[held],
        held_by=split.by,
        aside=int(split.aside_N.sum()),
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
        length = compute.binary_length(form.cast(pyarrow.large_string())).fill_null(0)
        has_N |= length.to_numpy() > 0
    return has_N


def inside(value: Any, wanted: Bound | Sequence[str | int | bool]) -> bool:
    """Is a score among the values, or in the interval?"""
    if not isinstance(wanted, Bound):
        return value in wanted
    return (wanted.min is None or value >= wanted.min) and (wanted.max is None or value <= wanted.max)


def about_held_out(sources: Sequence[Source]) -> str:
    """How many samples are held out, and by what, for a person."""
    told = f"{sum(len(source.held_out) for source in sources)} held out"
    kinds = sorted({source.held_by for source in sources if len(source.held_out)})
    told += f" by {' and '.join(kinds)}" if kinds else ""
    aside = sum(source.aside for source in sources)
    return told + (f", {aside} set aside for being too near to them" if aside else "")


def seconds_of(sources: Sequence[Source]) -> float:
    """Audio that is trained on, in seconds, after cropping."""
    return sum(source.seconds for source in sources)
