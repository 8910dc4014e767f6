"""Corpora as one numbered set of utterances: filters of the mixture, held-out split, text and waveform of each."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.shards import Corpus, Sample, open_corpus
from training.data.collate import PATCH, Utterance, patches_of
from training.manifest import Bound, Data, Part
from training.objectives import Stored


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
    patches: NDArray[np.int64]
    """Length of every sample of the corpus in patches of 160 ms, after cropping."""

    def read(self, number: int) -> Utterance:
        """Utterance `number` of the corpus."""
        sample = self.corpus.sample(number)
        return Utterance(
            key=sample.key,
            wave_S=sample.wave_S,
            rate_hz=sample.rate_hz,
            text=text_of(sample.record),
            language=sample.record.get("language"),
            speaker=sample.record.get("speaker"),
            stored=stored_of(sample),
        )


def text_of(row: Mapping[str, Any]) -> str:
    """What the utterance says, in the form made for speaking; empty where nobody knows."""
    return str(row.get("text_tts") or row.get("text") or "")


def stored_of(sample: Sample) -> Stored | None:
    """The latents of a sample, where its shard has them."""
    by, mean_FD, log_std_FD = sample.record.get("latents_by"), sample.latent_FD, sample.latent_log_std_FD
    if by is None or mean_FD is None or log_std_FD is None:
        return None
    return Stored(by, *(torch.from_numpy(np.array(half, dtype=np.float32)) for half in (mean_FD, log_std_FD)))


def open_sources(data: Data, *, folders: Mapping[str, str | Path], needs_text: bool) -> list[Source]:
    """The parts of the mixture, opened and filtered; `folders` maps roles to corpora.

    Raises: DataError when a part has no sample left; CorpusError.
    """
    opened: dict[str, Corpus] = {}
    sources = []
    for part in data.mixture:
        if part.role not in folders:
            raise DataError(
                f"data.mixture names the role {part.role!r}, but the inputs are: {', '.join(folders) or 'none'}"
            )
        corpus = opened.setdefault(part.role, open_corpus(folders[part.role]))
        sources.append(source_of(corpus, part, data=data, needs_text=needs_text))
    return sources


def source_of(corpus: Corpus, part: Part, *, data: Data, needs_text: bool) -> Source:
    """One part of the mixture, by whole columns of the index."""
    seconds_N = np.asarray(corpus.seconds)
    used_N = (seconds_N >= data.min_clip_seconds) & chosen(corpus, part)
    if needs_text:
        used_N &= (seconds_N <= data.max_clip_seconds) & has_text(corpus)
    used = np.flatnonzero(used_N)
    if not len(used):
        asked = f"{data.min_clip_seconds:g} to {data.max_clip_seconds:g} s" + (", with text" if needs_text else "")
        raise DataError(
            f"corpus {corpus.name} has {len(corpus)} samples and none fits ({asked}"
            f"{', and the filters of the mixture' if part.tiers or part.where else ''})"
        )
    keys = corpus.rows.columns("key")["key"].take(used).to_pylist()
    held = held_out_of(keys, share=data.held_out)
    return Source(
        corpus=corpus,
        weight=part.weight,
        numbers=used[~held],
        held_out=used[held],
        patches=patches_of(np.minimum(seconds_N, data.max_clip_seconds)),
    )


def chosen(corpus: Corpus, part: Part) -> NDArray[np.bool_]:
    """Which samples pass the filters of the part."""
    wanted: list[tuple[str, Bound | Sequence[str | int | bool]]] = [*part.where.items()]
    if part.tiers is not None:
        wanted.append(("tier", part.tiers))
    passes_N = np.ones(len(corpus), dtype=np.bool_)
    for column, values in wanted:
        found = corpus.rows.columns(column)[column].to_pylist()
        passes_N &= np.array([inside(value, values) for value in found], dtype=np.bool_)
    return passes_N


def has_text(corpus: Corpus) -> NDArray[np.bool_]:
    """Which samples have something to say."""
    forms = corpus.rows.columns("text_tts", "text").to_pydict().values()
    return np.array([bool(tts or text) for tts, text in zip(*forms, strict=True)], dtype=np.bool_)


def inside(value: Any, wanted: Bound | Sequence[str | int | bool]) -> bool:
    """Is a score among the values, or in the interval? A missing score is not."""
    if not isinstance(wanted, Bound):
        return value in wanted
    if value is None:
        return False
    return (wanted.min is None or value >= wanted.min) and (wanted.max is None or value <= wanted.max)


def held_out_of(keys: Sequence[str], *, share: float) -> NDArray[np.bool_]:
    """Which keys are held out: those whose hash lies below `share`, and of eight or more at least the lowest one.

    A key stays on its side when the corpus grows (but for that lowest one, in a corpus too small for the share).
    """
    places = np.array([int.from_bytes(hashlib.sha256(k.encode()).digest()[:6], "big") / 2**48 for k in keys])
    held = places < share
    if share > 0 and not held.any() and len(keys) >= 8:
        held[int(places.argmin())] = True
    return np.asarray(held, dtype=np.bool_)


def seconds_of(sources: Sequence[Source]) -> float:
    """Audio that is trained on, in seconds, after cropping."""
    return float(sum(source.patches[source.numbers].sum() for source in sources)) * PATCH / 48_000
