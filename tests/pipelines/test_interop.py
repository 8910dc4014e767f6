"""A built corpus is read by webdataset, by `datasets`, by lhotse and by Energon: the same keys, sounds and texts."""

import gc
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from infra.cli import main
from pipelines.packing.cutting import plan
from pipelines.packing.export import WRITERS, energon, jsonl, lhotse, lhotse_shar
from pipelines.packing.finish import finish
from pipelines.packing.writer import write_shard
from pipelines.policy.tombstones import FILE, Tombstone, append
from pipelines.row import as_row, segment_of
from pipelines.shards import Corpus, open_corpus
from tests.pipelines.packable import items
from tests.processes import PATIENCE_SECONDS

LIBRARY_NOISE = pytest.mark.filterwarnings("ignore")
"""Other people's libraries warn of their own affairs, and webdataset leaves its files open."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six samples in three shards, with x-vectors beside the sound."""
    folder = tmp_path_factory.mktemp("interop")
    made = []
    for number, item in enumerate(items(folder, 6)):
        segment = replace(segment_of(dict(item.row)), language="en", speaker=f"v{number % 2}", mos_overall=3.5)
        made.append(replace(item, row=as_row(segment)))
    shards = [
        write_shard(folder / "toy", n, part, members=("spk",)) for n, part in enumerate(plan(made, soft_bytes=90_000))
    ]
    finish(folder / "toy", name="toy", shards=shards, facts={})
    return folder / "toy"


@pytest.fixture(scope="module")
def corpus(root: Path) -> Corpus:
    opened = open_corpus(root)
    assert len(opened.rows.samples) == 3
    return opened


def sounds(corpus: Corpus) -> dict[str, np.ndarray]:
    return {sample.key: sample.wave_S for sample in map(corpus.sample, range(len(corpus)))}


SECURE = """
import json, sys, webdataset
from webdataset import utils
assert utils.enforce_security
found = {s["__key__"]: [s["json"]["text"], len(s["flac"]), s["spk.npy"].tolist()]
         for s in webdataset.WebDataset(sys.argv[1:], shardshuffle=False).decode()}
print(json.dumps(found))
"""


def test_webdataset_reads_and_decodes_it_in_secure_mode(root: Path, corpus: Corpus) -> None:
    shards = sorted(map(str, root.rglob("*.tar")))
    command = [sys.executable, "-W", "ignore", "-c", SECURE, *shards]
    done = subprocess.run(
        command,
        env={**os.environ, "WDS_SECURE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == [row["key"] for row in corpus.rows]
    for number, row in enumerate(corpus.rows):
        flac = corpus.members(number)[1]["flac"]
        assert found[row["key"]] == [row["text"], len(flac), row["xvector"]]


@LIBRARY_NOISE
@pytest.mark.parametrize("streaming", [True, False])
def test_datasets_reads_the_shards_without_torchcodec(
    root: Path, corpus: Corpus, tmp_path: Path, streaming: bool
) -> None:
    from datasets import Features, Value, load_dataset

    record = {"key": Value("string"), "text": Value("string"), "seconds": Value("float64")}
    features = Features({"__key__": Value("string"), "flac": Value("binary"), "json": record})
    shards = sorted(map(str, root.rglob("*.tar")))
    found = load_dataset(
        "webdataset", data_files=shards, split="train", features=features, streaming=streaming, cache_dir=str(tmp_path)
    )
    waves = sounds(corpus)
    seen = list(found)
    assert [one["__key__"] for one in seen] == list(waves)
    for one, row in zip(seen, corpus.rows, strict=True):
        wave_S, rate_hz = soundfile.read(io.BytesIO(one["flac"]), dtype="float32")
        assert np.array_equal(wave_S, waves[one["__key__"]])
        assert rate_hz == row["rate_hz"]
        assert one["json"] == {"key": row["key"], "text": row["text"], "seconds": row["seconds"]}


@LIBRARY_NOISE
def test_datasets_reads_the_index_as_a_table_and_finds_the_sound_by_it(
    root: Path, corpus: Corpus, tmp_path: Path
) -> None:
    from datasets import load_dataset

    table = load_dataset(
        "parquet", data_files=str(root / "index" / "*.parquet"), split="train", cache_dir=str(tmp_path)
    )
    assert table.num_rows == 6
    row = table.filter(lambda one: one["speaker"] == "v1")[1]
    with (root / "shards" / "pack-0000" / f"shard-{row['shard']:06d}.tar").open("rb") as file:
        file.seek(row["flac_offset"])
        wave_S, _ = soundfile.read(io.BytesIO(file.read(row["flac_bytes"])), dtype="float32")
    assert np.array_equal(wave_S, sounds(corpus)[row["key"]])


@LIBRARY_NOISE
def test_lhotse_reads_the_view_in_place(corpus: Corpus, tmp_path: Path) -> None:
    from lhotse import CutSet

    assert lhotse(corpus, tmp_path) == 6
    cuts = CutSet.from_file(tmp_path / "cuts.jsonl.gz")
    check_cuts(list(cuts), corpus)
    first = (tmp_path / "cuts.jsonl.gz").read_bytes()
    lhotse(corpus, tmp_path)
    assert (tmp_path / "cuts.jsonl.gz").read_bytes() == first
    gc.collect()


@LIBRARY_NOISE
def test_lhotse_reads_the_shar(corpus: Corpus, tmp_path: Path) -> None:
    from lhotse import CutSet

    assert lhotse_shar(corpus, tmp_path) == 6
    check_cuts(list(CutSet.from_shar(in_dir=tmp_path)), corpus)
    gc.collect()


def check_cuts(cuts: list[Any], corpus: Corpus) -> None:
    waves = sounds(corpus)
    assert [cut.id for cut in cuts] == list(waves)
    for cut, row in zip(cuts, corpus.rows, strict=True):
        assert np.array_equal(cut.load_audio()[0], waves[cut.id])
        assert cut.sampling_rate == row["rate_hz"]
        (supervision,) = cut.supervisions
        assert (supervision.text, supervision.language, supervision.speaker) == (row["text"], "en", row["speaker"])
        assert supervision.custom["license"] == "CC0"
        assert supervision.custom["mos_overall"] == 3.5


ENERGON = """
import sys, json
from megatron.energon import Cooker, DefaultTaskEncoder, WorkerConfig, get_loader, get_train_dataset, stateless

@stateless
def cook(sample):
    return {**sample}

class Encoder(DefaultTaskEncoder):
    cookers = [Cooker(cook)]

config = WorkerConfig(rank=0, world_size=1, num_workers=0)
dataset = get_train_dataset(
    sys.argv[1], worker_config=config, batch_size=None, shuffle_buffer_size=None, max_samples_per_sequence=None,
    shuffle_over_epochs_multiplier=None, parallel_shard_iters=1, repeat=False, task_encoder=Encoder(),
)
found = {}
for sample in get_loader(dataset):
    audio = sample["flac"].get_audio().audio_clips[0]
    found[sample["__key__"].rsplit("/", 1)[-1]] = [sample["json"]["text"], audio.shape[-1]]
print(json.dumps(found))
"""


def read_by_energon(folder: Path) -> dict[str, list[Any]]:
    command = [sys.executable, "-W", "ignore", "-c", ENERGON, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_energon_reads_it_in_place_and_not_what_was_taken_down(root: Path, corpus: Corpus, tmp_path: Path) -> None:
    gone = corpus.rows[1]["key"]
    told = {"why": "asked", "who": "me", "when": "2026-01-01T00:00:00+00:00"}
    append(root / FILE, [Tombstone(field="key", values=(gone,), corpus=None, **told)])
    try:
        assert energon(open_corpus(root), tmp_path / "some") == 5
        left = {row["key"]: [row["text"], 16000] for row in corpus.rows if row["key"] != gone}
        assert read_by_energon(tmp_path / "some") == left
        for name in ("lhotse", "lhotse-shar"):
            assert WRITERS[name](open_corpus(root), tmp_path / name) == 5
    finally:
        (root / FILE).unlink()


def test_jsonl_is_the_training_manifest_of_dots_tts(corpus: Corpus, tmp_path: Path) -> None:
    assert jsonl(corpus, tmp_path) == 6
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    for line, row in zip(lines, corpus.rows, strict=True):
        assert (line["fid"], line["text"], line["language"]) == (row["key"], "na\u00efve words", "en")
        wave_S, _ = soundfile.read(line["audio"], dtype="float32")
        assert np.array_equal(wave_S, sounds(corpus)[row["key"]])


def test_command_writes_an_export(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "export", str(root), "--format", "lhotse", "--out", str(tmp_path / "cuts")]) == 0
    told = capsys.readouterr()
    assert told.out == f"{tmp_path / 'cuts'}\n"
    assert "6 samples" in told.err
