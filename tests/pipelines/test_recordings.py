"""Recordings: folders are cataloged as they lie, synthetic ones are the same bytes, the truth scores a ledger."""

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile

from infra.manifest import ManifestError, parse
from infra.workflow.node import Job, Outcome, Refused
from pipelines.catalog import Faults
from pipelines.readers import jsonl
from pipelines.recordings import RecordingsManifest, identity, run
from pipelines.synthetic.synthesize import EXPECT
from pipelines.synthetic.truth import read_truth, score_against_truth, table

ROOT = Path(__file__).resolve().parents[2]


def made(manifest: RecordingsManifest, out: Path, *, said: list[str] | None = None) -> Outcome:
    out.mkdir(parents=True)
    say = (said if said is not None else []).append
    job = SimpleNamespace(manifest=manifest, out=out, work=out, inputs={}, say=say)
    return run(cast(Job, job))


def synthetic(**settings: Any) -> RecordingsManifest:
    return parse(RecordingsManifest, {"synthetic": settings}, where="x.yaml")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """Two voices, one sentence each, and all faults."""
    out = tmp_path_factory.mktemp("recordings") / "out"
    return out, made(synthetic(voices=2, sentences_per_voice=1), out)


def test_synthetic_recordings_are_the_same_bytes_every_time(small: tuple[Path, Outcome], tmp_path: Path) -> None:
    again = made(synthetic(voices=2, sentences_per_voice=1), tmp_path / "out")
    assert again.digest == small[1].digest
    other = made(synthetic(voices=2, sentences_per_voice=1, faults=False), tmp_path / "other")
    assert other.digest != small[1].digest
    names = [item.name for item in jsonl.recordings(jsonl.Config(), tmp_path / "other")]
    assert names == ["en/bruno_00.wav", "de/greta_00.wav"]
    for name in names:
        assert (tmp_path / "other" / "audio" / name).read_bytes() == (small[0] / "audio" / name).read_bytes()


def test_the_catalog_names_files_that_are_there_with_their_hashes(small: tuple[Path, Outcome]) -> None:
    out, outcome = small
    found = list(jsonl.recordings(jsonl.Config(), out))
    assert len(found) == outcome.summary["files"]
    for item in found:
        data = Path(item.uri).read_bytes()
        assert hashlib.sha256(data).hexdigest() == item.sha256
        assert len(data) == item.bytes
        assert item.license == "Apache-2.0"
    assert outcome.summary["licenses"] == ["Apache-2.0"]


def test_every_fault_is_made_and_is_what_it_says(small: tuple[Path, Outcome]) -> None:
    out = small[0]
    truth = {fact["name"]: fact for fact in read_truth(out) or []}
    assert {fact["kind"] for fact in truth.values()} >= set(EXPECT) - {"unlabeled", "untold"}
    narrow, rate_hz = soundfile.read(out / "audio" / "damaged" / "narrow_band_bruno.wav")
    spectrum = np.abs(np.fft.rfft(narrow)) ** 2
    hz = np.fft.rfftfreq(len(narrow), 1 / rate_hz)
    assert rate_hz == 48000
    assert spectrum[hz > 4500].sum() < 1e-6 * spectrum.sum()
    assert np.abs(soundfile.read(out / "audio" / "damaged" / "silent.wav")[0]).max() == 0
    assert (out / "audio" / "damaged" / "empty.wav").stat().st_size == 0
    for name in ("corrupt.wav", "truncated.flac"):
        with pytest.raises((soundfile.LibsndfileError, RuntimeError)):
            soundfile.read(out / "audio" / "damaged" / name)
    catalog = {item.name: item for item in jsonl.recordings(jsonl.Config(), out)}
    assert catalog["damaged/wrong_text.wav"].text != truth["damaged/wrong_text.wav"]["text"]
    assert catalog["many/dialogue.wav"].text is None
    turns = truth["many/dialogue.wav"]["turns"]
    assert all(before["end"] + 1 < after["start"] for before, after in zip(turns, turns[1:], strict=False))


def test_a_folder_is_cataloged_where_it_lies(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "a").mkdir(parents=True)
    soundfile.write(folder / "a" / "one.wav", np.zeros(1600), 16000)
    (folder / "a" / "one.txt").write_text("Hello there.")
    settings = {"folder": str(folder), "license": "CC0-1.0", "language": "en", "source": "my desk"}
    outcome = made(parse(RecordingsManifest, settings, where="x.yaml"), tmp_path / "out")
    (found,) = jsonl.recordings(jsonl.Config(), tmp_path / "out")
    assert (found.name, found.text, found.language) == ("a/one.wav", "Hello there.", "en")
    assert (found.license, found.source) == ("CC0-1.0", "my desk")
    assert Path(found.uri) == folder / "a" / "one.wav"
    assert outcome.summary["root"] == str(folder)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["recordings.jsonl"], "nothing is copied"


def test_transcripts_that_cannot_be_read_are_told_when_a_folder_is_cataloged(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    texts = {"a.TXT": b"fine", "b.txt": b"caf\xe9", "c.txt": "wide".encode("utf-16"), "d.txt": b"long" * (1 << 19)}
    for name, data in texts.items():
        soundfile.write(folder / f"{name[0]}.wav", np.zeros(1600), 16000)
        (folder / name).write_bytes(data)
    (folder / "t.tsv").write_text("file\ttext\ngone.wav\thello\n")
    said: list[str] = []
    outcome = made(RecordingsManifest(folder=folder), tmp_path / "out", said=said)
    assert "3 transcripts that cannot be read (the first of b.wav: the transcript is not UTF-8)" in said[0]
    assert "1 that cannot be used (missing 1)" in said[0]
    assert (outcome.summary["text_faults"], outcome.summary["faults"]) == (3, 1)
    catalog = list(jsonl.recordings(jsonl.Config(), tmp_path / "out"))
    assert [item.text for item in catalog if item.bytes] == ["fine", None, None, None]
    faults = Faults()
    for recording in catalog:
        faults.see(recording)
    assert faults.texts == 3, "and whoever plans a corpus of the catalog is told, too"


def test_a_changed_folder_has_another_identity(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", np.zeros(1600), 16000)
    manifest = RecordingsManifest(folder=tmp_path)
    before = identity(manifest)
    assert identity(manifest) == before
    os.utime(tmp_path / "one.wav", ns=(1, 1))
    touched = identity(manifest)
    soundfile.write(tmp_path / "two.wav", np.zeros(1600), 16000)
    assert len({item["listing"] for item in (before, touched, identity(manifest))}) == 3


def test_identity_tells_of_linked_folders_and_never_fails(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine" / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mine" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    reader = {"name": "folder", "links": True}
    followed = parse(RecordingsManifest, {"folder": str(tmp_path / "mine"), "reader": reader}, where="x.yaml")
    plain = RecordingsManifest(folder=tmp_path / "mine")
    before = identity(followed)["listing"], identity(plain)["listing"]
    soundfile.write(tmp_path / "elsewhere" / "two.wav", np.zeros(1600), 16000)
    after = identity(followed)["listing"], identity(plain)["listing"]
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)


@pytest.mark.parametrize(("files", "said"), [([], "empty"), (["notes.md"], "1 other file")])
def test_a_folder_without_sound_is_refused_with_a_sentence(tmp_path: Path, files: list[str], said: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in files:
        (folder / name).write_text("x")
    with pytest.raises(Refused, match=f"no sound file in it.*{said}"):
        made(RecordingsManifest(folder=folder), tmp_path / "out")
    with pytest.raises(Refused, match="no such folder"):
        made(RecordingsManifest(folder=tmp_path / "gone"), tmp_path / "out2")


def test_a_folder_and_synthetic_settings_together_are_a_mistake() -> None:
    with pytest.raises(ManifestError, match="not both"):
        parse(RecordingsManifest, {"folder": "x", "synthetic": {"voices": 2}}, where="x.yaml")


def row(
    recording: str, status: str, *, seconds: float = 4.0, reason: str | None = None, **facts: Any
) -> dict[str, Any]:
    blank = {"key": "k", "language": "en", "text": "hello", "enhanced": "no", "start_sample": 0, "end_sample": 16000}
    return {**blank, "rate_hz": 16000, "recording": recording, "status": status, "item_seconds": seconds,
            "reason": reason, **facts}  # fmt: skip


TRUTH = [
    {"name": "clean", "kind": "clean", "expect": "kept", "seconds": 5.0, "language": "en", "text": "hello"},
    {"name": "noise", "kind": "noise", "expect": "dropped", "seconds": 5.0},
    {"name": "corrupt", "kind": "corrupt", "expect": "failed", "seconds": 0.0},
    {"name": "loud", "kind": "loud_noise", "expect": "cleaned", "seconds": 5.0, "language": "en"},
    {"name": "two", "kind": "dialogue", "expect": "one voice each", "seconds": 2.0,
     "turns": [{"start": 0.0, "end": 1.0, "speaker": "a"}, {"start": 1.0, "end": 2.0, "speaker": "b"}]},
]  # fmt: skip


def test_a_ledger_that_is_right_scores_full_marks() -> None:
    ledger = [
        row("clean", "kept"), row("clean", "dropped", seconds=1.0, reason="between"),
        row("noise", "dropped", reason="no_speech"), row("corrupt", "failed", seconds=0, reason="decode: junk"),
        row("loud", "kept", enhanced="rnnoise-0.8"), row("two", "kept"),
        row("two", "kept", start_sample=16000, end_sample=32000),
    ]  # fmt: skip
    report = score_against_truth(TRUTH, ledger)
    assert (report["right"], report["all"], report["wrong"]) == (5, 5, [])
    assert (report["language_right"], report["language_all"]) == (2, 2)
    assert table(report).startswith("treated rightly: 5 of 5")


def test_every_kind_of_wrong_treatment_is_counted_and_told() -> None:
    ledger = [
        row("clean", "kept", seconds=1.0, language="de"), row("noise", "kept"),
        row("corrupt", "dropped", reason="silence"), row("loud", "kept"), row("two", "kept", end_sample=24000),
    ]  # fmt: skip
    report = score_against_truth(TRUTH, ledger)
    assert report["right"] == 0
    assert [item["name"] for item in report["wrong"]] == ["clean", "noise", "corrupt", "loud", "two"]
    assert report["wrong"][2]["was"] == "dropped 4.0 s (silence)"
    assert report["language_right"] == 1
    assert score_against_truth(TRUTH[:1], [])["wrong"][0]["was"] == "not in the ledger"
    assert json.loads(json.dumps(report)) == report
