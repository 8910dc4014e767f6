"""Trace: from a sample to its recording, and back, over all corpora of a store."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from infra.cli import main
from infra.storage import write_json
from pipelines.clip import Clip
from pipelines.policy.takedown import corpora_in, take_down, tombstone_for, touched
from pipelines.shards import open_corpus
from pipelines.trace import Trace, trace
from pipelines.transforms.fingerprint import Config, Transform
from tests.pipelines.corpora import corpus_of, manifest_of, segment

WAVE_S = (np.random.default_rng(0).integers(-9999, 9999, 1600) / 32768).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two corpora that share a recording; of another one, a segment was dropped."""
    listen = Transform(Config())
    first = listen.one(Clip(segment(1, samples=1600, license="CC-BY-NC-4.0", source="https://x.org/1"), WAVE_S)).segment
    second = segment(1, samples=1600, start_sample=3200)
    low = segment(2, mos_overall=1.0, recording="other.wav")
    policy = manifest_of(keep=[{"name": "mos", "min": 2}])
    for name, made in (("one", [first, second, low]), ("two", [first])):
        out = corpus_of(tmp_path / name / "0123" / "out", made, manifest=policy, waves={first.key: WAVE_S})
        write_json(out.parent / "state.json", {})
        write_json(out.parent / "COMMIT.json", {"run": f"run-of-{name}"})
    return tmp_path


def found(store: Path, word: str) -> list[Trace]:
    return sorted(trace(word, corpora_in(store)), key=lambda item: (item.root, item.start_seconds or 0))


def test_sample_knows_its_file_its_time_its_license_its_chain_and_its_run(store: Path) -> None:
    key = segment(1, samples=1600).key
    one, two = found(store, key)
    assert (one.run, two.run) == ("run-of-one", "run-of-two")
    assert one.recording_sha256 == f"{1:064x}"
    assert (one.start_seconds, one.end_seconds, one.rate_hz) == (0.0, 0.1, 16000)
    assert (one.license, one.terms, one.source) == ("CC-BY-NC-4.0", ("by", "nc"), "https://x.org/1")
    assert (one.fate, one.fingerprint, one.tombstone) == ("kept", "0123456789ab", None)
    assert one.shard == "shards/pack-0000/shard-000000.tar"
    assert one.corpus == f"toy@{open_corpus(Path(one.root)).digest}"


def test_recording_is_followed_to_its_samples_by_name_hash_and_url(store: Path) -> None:
    assert [item.start_seconds for item in found(store, "r1.wav")] == [0.0, 0.2, 0.0]
    assert len(found(store, f"{1:064x}")) == 3
    assert len(found(store, "https://x.org/1")) == 2
    (dropped,) = found(store, "other.wav")
    assert (dropped.fate, dropped.shard, dropped.reason) == ("dropped", None, "mos: mos_overall is 1")
    assert found(store, "nothing.wav") == []


def test_file_is_known_by_its_name_or_by_its_samples(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "renamed.wav"
    soundfile.write(file, WAVE_S, 16000, subtype="PCM_16")
    assert [item.key for item in found(store, str(file))] == [segment(1, samples=1600).key] * 2
    clip = tmp_path / f"{segment(2).key}.flac"
    clip.write_bytes(b"no sound")
    assert [item.recording for item in found(store, str(clip))] == ["other.wav"]


def test_command_tells_what_is_hidden_and_why(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = store / "two" / "0123" / "out"
    made = tombstone_for(root, field="recording", values=["r1.wav"], why="asked to", who="me")
    take_down(root, made, touched(root, made))
    words = ["corpus", "trace", "r1.wav", "--in", str(root)]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "license     CC-BY-NC-4.0 (terms: by nc)" in told
    assert (
        "0.000 to 0.100 s          kept as all, shards/pack-0000/shard-000000.tar; hidden, takedown: asked to" in told
    )
    assert main([*words, "--json"]) == 0
    assert '"run": "run-of-two"' in capsys.readouterr().out
    assert main(["corpus", "trace", "r9.wav", "--in", str(root)]) == 1
    assert "r9.wav: no sample and no recording of 1 corpora has this key" in capsys.readouterr().err
