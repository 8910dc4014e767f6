"""The shard contract: what is written is what is read, byte for byte, by us and by webdataset."""

import gc
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.row import Segment, as_row, segment_key, segment_of
from pipelines.shards import CorpusError, open_corpus
from pipelines.writer import Item, finish, flac_of, plan, verify, write_shard


def segment(number: int, *, samples: int = 16000, rate_hz: int = 16000) -> Segment:
    sha = f"{number:064x}"
    return Segment(
        key=segment_key(sha, start_sample=0, end_sample=samples),
        corpus="toy",
        recording=f"r{number}.wav",
        recording_sha256=sha,
        license="CC0",
        source="made here",
        start_sample=0,
        end_sample=samples,
        rate_hz=rate_hz,
        channels=1,
        seconds=samples / rate_hz,
        text="na\u00efve words",
        xvector=(0.1, 0.2),
    )


def items(folder: Path, count: int) -> list[Item]:
    made = []
    for number in range(count):
        wave_S = np.random.default_rng(number).uniform(-0.5, 0.5, 16000).astype(np.float32)
        flac = flac_of(wave_S, rate_hz=16000)
        file = folder / f"{number}.flac"
        file.write_bytes(flac)
        made.append(Item(row=as_row(segment(number)), tier="all", file=file, offset=0, flac_bytes=len(flac)))
    return made


def build(root: Path, made: list[Item], *, soft_bytes: int = 100_000) -> str:
    shards = [write_shard(root, number, part) for number, part in enumerate(plan(made, soft_bytes=soft_bytes))]
    return finish(root, name="toy", shards=shards, facts={})


def test_same_samples_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    made = items(tmp_path, 7)
    digests = [build(tmp_path / "a", made), build(tmp_path / "b", made[::-1])]
    assert digests[0] == digests[1]
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len([name for name in names if name.suffix == ".tar"]) == 3
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_sample_comes_back_as_it_was_written(tmp_path: Path) -> None:
    wave_S = (np.arange(-32768, 32768, 7) / 32768).astype(np.float32)
    (tmp_path / "x").write_bytes(b"....." + (flac := flac_of(wave_S, rate_hz=44100)))
    row = as_row(segment(1, samples=len(wave_S), rate_hz=44100))
    build(tmp_path, [Item(row=row, tier="clean", file=tmp_path / "x", offset=5, flac_bytes=len(flac))])
    corpus = open_corpus(tmp_path)
    sample = corpus.sample(0)
    assert np.array_equal(sample.wave_S, wave_S)
    assert sample.rate_hz == 44100
    assert sample.record == {**row, "xvector": None, "tier": "clean"}
    assert segment_of(corpus.rows[0]) == replace(
        segment(1, samples=len(wave_S), rate_hz=44100), xvector=tuple(float(np.float32(x)) for x in (0.1, 0.2))
    )
    assert corpus.seconds[0] == len(wave_S) / 44100
    assert verify(tmp_path) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
def test_shards_are_plain_webdataset(tmp_path: Path) -> None:
    import webdataset

    build(tmp_path, items(tmp_path, 5))
    corpus = open_corpus(tmp_path)
    urls = [str(path) for path in sorted((tmp_path / "shards").glob("*.tar"))]
    seen = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in seen] == [row["key"] for row in corpus.rows]
    for number, sample in enumerate(seen):
        assert (sample["flac"], sample["json"]) == corpus.members(number)
        assert json.loads(sample["json"])["text"] == "na\u00efve words"
    gc.collect()


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "index", "extra"])
def test_verify_finds_what_was_harmed(tmp_path: Path, harm: str) -> None:
    build(tmp_path, items(tmp_path, 3))
    shard = tmp_path / "shards" / "shard-000000.tar"
    data = shard.read_bytes()
    if harm == "flip":
        shard.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    elif harm == "cut":
        shard.write_bytes(data[: len(data) // 2])
    elif harm == "remove":
        shard.unlink()
    elif harm == "extra":
        (shard.parent / "shard-000009.tar").write_bytes(b"")
    else:
        card = json.loads((tmp_path / "corpus.json").read_text())
        (tmp_path / "corpus.json").write_text(json.dumps({**card, "digest": "0" * 32}))
    assert len(verify(tmp_path)) == 1


def test_unfinished_corpus_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no corpus.json"):
        open_corpus(tmp_path)
    with pytest.raises(CorpusError, match="is not a folder"):
        open_corpus(tmp_path / "nowhere")
    build(tmp_path, items(tmp_path, 2))
    (tmp_path / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match=r"index\.parquet: cannot be read"):
        open_corpus(tmp_path)


def test_damaged_shard_is_a_sentence(tmp_path: Path) -> None:
    build(tmp_path, items(tmp_path, 2))
    shard = tmp_path / "shards" / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(CorpusError, match="ends before sample"):
        open_corpus(tmp_path).sample(1)
