"""The shard contract: what is written is what is read, byte for byte, by us and by webdataset."""

import gc
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from pipelines.packing.cutting import plan
from pipelines.packing.finish import finish
from pipelines.packing.layout import index_name
from pipelines.packing.members import flac_of, record_bytes, record_of
from pipelines.packing.parts import segment_columns
from pipelines.packing.verify import verify
from pipelines.packing.writer import write_shard
from pipelines.row import Segment, as_row, segment_of
from pipelines.shards import CorpusError, open_corpus
from tests.pipelines.packable import SHARD, Item, build, files, items, segment


def test_same_samples_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    made = items(tmp_path, 7)
    digests = [build(tmp_path / "a", made), build(tmp_path / "b", made[::-1])]
    assert digests[0] == digests[1]
    assert not (tmp_path / "a" / "parts").exists()
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len([name for name in names if name.suffix == ".tar"]) == 3
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_sound_that_ends_early_is_packed_by_nobody(tmp_path: Path) -> None:
    made = items(tmp_path, 2)
    made[1].file.write_bytes(made[1].file.read_bytes()[:-1])
    with pytest.raises(CorpusError, match=f"ends before the audio of {made[1].key}; remove the file and run again"):
        build(tmp_path / "corpus", made)
    assert not list((tmp_path / "corpus").rglob("*.tar"))


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


def test_length_of_a_record_is_known_without_writing_it() -> None:
    full = replace(
        segment(1), text='"gr\u00fc\u00df", \u4f60\u597d\n', xvector=(0.5, -1e-7), words=("a", "b"), upsampled=False
    )
    for row in (as_row(segment(1)), as_row(full), {**as_row(full), "snr_db": 1e22, "hallucination": ()}):
        size = len(record_of(row, tier="gold"))
        assert record_bytes(row, tier="gold") == size
        assert record_bytes({name: value for name, value in row.items() if value is not None}, tier="gold") == size


def test_row_without_what_every_segment_has_is_no_segment() -> None:
    row = as_row(segment(1))
    told = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    assert segment_of({**row, "tier": "gold"}) == Segment(**told)
    with pytest.raises(TypeError, match="without key, seconds"):
        segment_of({name: value for name, value in row.items() if name not in ("key", "seconds")})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
def test_shards_are_plain_webdataset(tmp_path: Path) -> None:
    import webdataset

    build(tmp_path, items(tmp_path, 5))
    corpus = open_corpus(tmp_path)
    urls = [str(path) for path in sorted((tmp_path / "shards").rglob("*.tar"))]
    seen = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in seen] == [row["key"] for row in corpus.rows]
    for number, sample in enumerate(seen):
        key, members = corpus.members(number)
        assert (sample["__key__"], sample["flac"], sample["json"]) == (key, members["flac"], members["json"])
        assert json.loads(sample["json"])["text"] == "na\u00efve words"
    gc.collect()


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "digest", "extra", "offsets", "rows"])
def test_verify_finds_what_was_harmed(tmp_path: Path, harm: str) -> None:
    build(tmp_path, items(tmp_path, 3))
    shard = tmp_path / SHARD
    data = shard.read_bytes()
    if harm == "flip":
        shard.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    elif harm == "cut":
        shard.write_bytes(data[: len(data) // 2])
    elif harm == "remove":
        shard.unlink()
    elif harm == "extra":
        (shard.parent / "shard-000009.tar").write_bytes(b"")
    elif harm == "offsets":
        shard.with_name(f"{shard.name}.idx").write_bytes(b"\0" * 32)
    elif harm == "rows":
        table = parquet.read_table(tmp_path / index_name(0))
        texts = pyarrow.array(["other words"] * 3)
        parquet.write_table(table.set_column(table.column_names.index("text"), "text", texts), tmp_path / index_name(0))
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
    (tmp_path / index_name(0)).write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match=r"pack-0000\.parquet: cannot be read"):
        open_corpus(tmp_path).rows[0]
    (tmp_path / "corpus.json").write_text('{"format": "stipple-corpus/1"}')
    with pytest.raises(CorpusError, match=r"format stipple-corpus/2; build it again"):
        open_corpus(tmp_path)


def test_damaged_shard_is_a_sentence(tmp_path: Path) -> None:
    build(tmp_path, items(tmp_path, 2))
    shard = tmp_path / SHARD
    whole = shard.read_bytes()
    shard.write_bytes(whole[:3000])
    with pytest.raises(CorpusError, match="ends before the end of its sample 1"):
        open_corpus(tmp_path).sample(1)
    shard.write_bytes(b"\1" * len(whole))
    with pytest.raises(CorpusError, match="has no sample at byte 0"):
        open_corpus(tmp_path).sample(0)
    shard.write_bytes(whole[:600] + b"\1" * 2000 + whole[2600:])
    with pytest.raises(CorpusError, match="cannot be read"):
        open_corpus(tmp_path).sample(0)


def test_rows_and_columns_of_many_shards_are_those_that_were_written(tmp_path: Path) -> None:
    made = items(tmp_path, 9)
    build(tmp_path / "toy", made, soft_bytes=60_000)
    corpus = open_corpus(tmp_path / "toy")
    assert len(corpus.rows.samples) > 3
    keys = sorted(item.key for item in made)
    assert [row["key"] for row in corpus.rows] == keys
    assert [corpus.rows[number]["key"] for number in range(-9, 9)] == [*keys, *keys]
    assert [row["key"] for row in corpus.rows[2:7:2]] == keys[2:7:2]
    table = corpus.rows.columns("key", "seconds", "no such column")
    assert table["key"].to_pylist() == keys
    assert table["no such column"].to_pylist() == [None] * 9
    texts = {str(kind) for kind in corpus.rows.columns(*(name for name, _ in segment_columns()), "tier").schema.types}
    assert "large_string" in texts, "2 GB of texts, the keys of 83 million samples, have no place in `string`"
    assert "string" not in texts
    some = corpus.rows.only(np.array([1, 4, 8]), tiers=["a", "b", "c"])
    told = [(keys[1], "a"), (keys[4], "b"), (keys[8], "c")]
    assert [(row["key"], row["tier"]) for row in some] == told
    assert [(some[number]["key"], some[number]["tier"]) for number in (0, 1, -1)] == told
    assert some.columns("key", "tier").to_pylist() == [{"key": key, "tier": tier} for key, tier in told]
    assert replace(corpus, rows=some).sample(2).key == keys[8]
    assert [corpus.sample(number).key for number in (7, 0, 8)] == [keys[7], keys[0], keys[8]]
    with pytest.raises(IndexError):
        corpus.rows[9]


def test_corpus_of_many_packs_is_one_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("packing.index", "packing.layout", "packing.finish"):
        monkeypatch.setattr(f"pipelines.{module}.PACK", 2)
    made = items(tmp_path, 5)
    build(tmp_path / "toy", made, soft_bytes=40_000)
    root = tmp_path / "toy"
    assert [path.parent.name for path in sorted(root.rglob("*.tar"))] == [f"pack-{n:04d}" for n in (0, 0, 1, 1, 2)]
    assert [path.name for path in sorted(root.glob("index/*"))] == [f"pack-{n:04d}.parquet" for n in range(3)]
    corpus, keys = open_corpus(root), sorted(item.key for item in made)
    assert corpus.rows.columns("key")["key"].to_pylist() == keys
    assert [row["key"] for row in corpus.rows] == keys
    assert [(corpus.sample(number).key, corpus.rows[number]["shard"]) for number in (4, 2)] == [
        (keys[4], 4),
        (keys[2], 2),
    ]
    assert verify(root) == []


def test_opening_reads_no_row_of_the_index(tmp_path: Path) -> None:
    build(tmp_path, items(tmp_path, 2))
    (tmp_path / index_name(0)).unlink()
    corpus = open_corpus(tmp_path)
    assert len(corpus) == 2
    assert corpus.sample(1).rate_hz == 16000


def test_offsets_are_those_that_tarfile_finds(tmp_path: Path) -> None:
    build(tmp_path, items(tmp_path, 3))
    with tarfile.open(tmp_path / SHARD) as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.mode, m.type) for m in members} == {(0, 0, 0, 0o644, tarfile.REGTYPE)}
    found = np.fromfile(tmp_path / f"{SHARD}.idx", dtype="<u8").tolist()
    assert found == [*(member.offset for member in members[::2]), (tmp_path / SHARD).stat().st_size - 1024]


def test_key_that_would_break_a_shard_is_refused(tmp_path: Path) -> None:
    (item,) = items(tmp_path, 1)
    for key in ("a.b.c.d.e.f", "../../../etc", "", "x" * 81):
        with pytest.raises(CorpusError, match="a key has 1 to 80"):
            write_shard(tmp_path / "toy", 0, [replace(item, row={**item.row, "key": key})])
    with pytest.raises(CorpusError, match="cut it"):
        plan([replace(item, flac_bytes=2**31)], soft_bytes=2**30)


def test_shard_that_is_done_is_not_written_again(tmp_path: Path) -> None:
    made = items(tmp_path, 3)
    first = write_shard(tmp_path / "toy", 0, made)
    shard = tmp_path / "toy" / SHARD
    stamp = shard.stat().st_ino
    assert write_shard(tmp_path / "toy", 0, made) == first
    assert shard.stat().st_ino == stamp
    other = [replace(item, row={**item.row, "text": "na\u00efve w\u00f6rds"}) for item in made]
    assert write_shard(tmp_path / "toy", 0, other)["sha256"] != first["sha256"]
    assert shard.stat().st_ino != stamp


def test_finish_takes_entries_one_by_one_and_removes_what_earlier_attempts_left(tmp_path: Path) -> None:
    made = items(tmp_path, 6)
    build(tmp_path / "a", made, soft_bytes=40_000)
    pack = (tmp_path / "a" / SHARD).parent
    (pack / "shard-000001.tar.12ab34cd.tmp").write_bytes(b"half")
    build(tmp_path / "b", made)
    shards = (write_shard(tmp_path / "a", n, part) for n, part in enumerate(plan(made, soft_bytes=120_000)))
    finish(tmp_path / "a", name="toy", shards=shards, facts={})
    assert verify(tmp_path / "a") == []
    assert files(tmp_path / "a") == files(tmp_path / "b")
