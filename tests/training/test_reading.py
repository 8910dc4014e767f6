"""A start that reads no index, and steps that decode no sound which nobody hears."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from speech import build_corpus

from models.runtime.bundle import load_bundle, save_bundle
from models.runtime.latents import LatentEncoder
from pipelines.policy.tombstones import FILE, Tombstone, append
from pipelines.shards import Corpus, Rows
from tests.small import small_bundle
from training.data.batching import Plan
from training.data.draw import Draw
from training.data.reading import Hears, read_batch
from training.data.stream import Source, emotion_of, open_sources
from training.manifest import Data, Part
from training.objectives import Batch, backbone

DATA = Data(seconds_per_step=10, held_out=0.2)


@contextmanager
def counted(owner: type, name: str) -> Iterator[list[dict[str, Any]]]:
    """The keyword arguments of every call of a method, while it lasts."""
    calls: list[dict[str, Any]] = []
    inner = getattr(owner, name)

    def call(*words: Any, **named: Any) -> Any:
        calls.append(named)
        return inner(*words, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, call)
        yield calls


def opened(root: Path, memory: Path, *, data: Data = DATA, needs_text: bool = True) -> Source:
    (source,) = open_sources(data, folders={"data": root}, needs_text=needs_text, memory=memory)
    return source


def alike(one: Source, other: Source) -> bool:
    names = ("numbers", "held_out", "patches")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize(
    ("row", "emotion"),
    [
        ({}, None),
        ({"caption_tags": ["pitch:low", "emotion:calm"]}, "calm"),
        ({"caption_tags": ["emotion:other"], "given_emotion": None}, None),
        ({"caption_tags": ["emotion:calm"], "given_emotion": "sad"}, "sad"),
    ],
)
def test_an_emotion_is_what_the_corpus_says_or_else_what_a_captioner_heard(
    row: dict[str, Any], emotion: str | None
) -> None:
    assert emotion_of(row) == emotion


def test_a_part_of_the_mixture_reads_captions_also_of_what_has_no_text(corpus: Path, tmp_path: Path) -> None:
    data = Data(seconds_per_step=10, held_out=0, mixture=(Part(), Part(reads="caption")))
    for _ in ("from the index", "from memory"):
        texts, captions = open_sources(data, folders={"data": corpus}, needs_text=True, memory=tmp_path)
        one, other = texts.read(int(texts.numbers[0])), captions.read(int(captions.numbers[0]))
        assert (one.template, other.template) == ("tts", "text_to_audio")
        assert one.text.startswith("m")
        assert other.text.endswith("sings vowels")
        assert (len(texts.numbers), len(captions.numbers)) == (22, 12)
        assert set(captions.numbers.tolist()) - set(texts.numbers.tolist())


def test_a_second_start_reads_no_row_of_the_index_and_finds_the_same(corpus: Path, tmp_path: Path) -> None:
    first = opened(corpus, tmp_path)
    with counted(Rows, "columns") as calls:
        again = opened(corpus, tmp_path)
    assert calls == []
    assert alike(first, again)
    assert Plan([first], 0, 10.0).step(7) == Plan([again], 0, 10.0).step(7)
    number = int(again.numbers[0])
    assert again.read(number).key == first.read(number).key


@pytest.mark.parametrize(
    "data", [{"held_out": 0.3}, {"min_clip_seconds": 1.5}, {"mixture": (Part(tiers=("gold",)),)}], ids=str
)
def test_what_another_manifest_asks_for_is_looked_up_anew(corpus: Path, tmp_path: Path, data: dict[str, Any]) -> None:
    first = opened(corpus, tmp_path)
    other = opened(corpus, tmp_path, data=DATA.model_copy(update=data))
    assert not alike(first, other)
    assert not alike(first, opened(corpus, tmp_path, needs_text=False))
    assert alike(first, opened(corpus, tmp_path))


def test_a_tombstone_is_obeyed_at_the_next_start_and_read_from_memory_after(corpus: Path, tmp_path: Path) -> None:
    root, memory = tmp_path / "corpus", tmp_path / "memory"
    shutil.copytree(corpus, root)
    before = opened(root, memory)
    gone = before.read(int(before.numbers[3])).key
    stone = Tombstone(field="key", values=(gone,), corpus=None, why="asked to", who="me", when="2026-01-01T00:00:00Z")
    append(root / FILE, [stone])
    after, again = opened(root, memory), opened(root, memory)
    assert alike(after, again)
    for source in (after, again):
        keys = {source.read(int(number)).key for number in (*source.numbers, *source.held_out)}
        assert gone not in keys
        assert len(keys) == len(before.numbers) + len(before.held_out) - 1


def test_a_damaged_memory_is_not_taken(corpus: Path, tmp_path: Path) -> None:
    first = opened(corpus, tmp_path)
    (place,) = tmp_path.iterdir()
    for name in ("numbers.npy", "patches.npy"):
        whole = (place / name).read_bytes()
        (place / name).write_bytes(whole[:-8])
        assert alike(first, opened(corpus, tmp_path))
        (place / name).write_bytes(whole)
    (place / "held_out.npy").unlink()
    assert alike(first, opened(corpus, tmp_path))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "small"
    save_bundle(small_bundle(), path)
    return path


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """A corpus with the latents of the bundle's own encoder."""
    root = tmp_path_factory.mktemp("encoded") / "mini"
    return build_corpus(root, samples=16, untexted=0, longest=6, encoder=LatentEncoder(bundle))


def objective_of(bundle: Path, *, speaker_drop: float) -> backbone.Objective:
    return backbone.Objective(backbone.Config(speaker_drop=speaker_drop), load_bundle(bundle), seed=0)


def step_of(source: Source, step: int, *, hears: Hears | None) -> Batch:
    picks = Plan([source], 0, 6.0).step(step)
    return read_batch([source], picks, max_clip_seconds=30.0, seed=1, step=step, hears=hears)


@pytest.mark.parametrize("speaker_drop", [0.0, 0.5, 1.0])
def test_sound_that_nobody_hears_is_not_decoded_and_the_losses_are_the_same(
    bundle: Path, encoded: Path, tmp_path: Path, speaker_drop: float
) -> None:
    source = opened(encoded, tmp_path)
    assert source.latents
    own = objective_of(bundle, speaker_drop=speaker_drop)
    decoded = heard = 0
    for step in range(8):
        whole = objective_of(bundle, speaker_drop=speaker_drop)  # remembers nothing
        losses = []
        with counted(Corpus, "sample") as calls:
            batches = [step_of(source, step, hears=own.hears), step_of(source, step, hears=None)]
        decoded += sum(call["wave"] for call in calls) - len(batches[1].keys)
        heard += len(batches[0].keys)
        for objective, batch in zip((own, whole), batches, strict=True):
            draw = Draw(1, step, batch.keys)
            torch.manual_seed(0)
            terms = objective.players["backbone"](objective.prepare(batch, draw), draw)
            losses.append({name: float(term.total.detach()) for name, term in terms.items()})
        assert losses[0] == losses[1]
    if speaker_drop == 1.0:
        assert decoded == 0
    else:
        assert 0 < decoded <= (len(source.numbers) if speaker_drop == 0.0 else 0.75 * heard)


def test_latents_of_another_encoder_and_sound_without_latents_are_heard(
    bundle: Path, encoded: Path, corpus: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    save_bundle(small_bundle(seed=2), other)
    hears = objective_of(other, speaker_drop=1.0).hears
    assert all(step_of(opened(encoded, tmp_path / "a"), 0, hears=hears).heard)
    bare = opened(corpus, tmp_path / "b")
    assert not bare.latents
    with counted(Corpus, "sample") as calls:
        assert all(step_of(bare, 0, hears=hears).heard)
    assert all(call["wave"] for call in calls)  # and no file is read twice
    cropped = replace(opened(encoded, tmp_path / "a"))
    picks = Plan([cropped], 0, 6.0).step(0)
    own = objective_of(bundle, speaker_drop=1.0).hears
    assert all(read_batch([cropped], picks, max_clip_seconds=0.32, seed=1, step=0, hears=own).heard)
