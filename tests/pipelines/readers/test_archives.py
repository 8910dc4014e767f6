"""Tars and tables are read where they lie; what is amiss in them is a failed row, and never silence."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pytest

from infra.workflow.node import Refused
from pipelines.clip import Decoded
from tests.pipelines.readers.material import Reader, parquet, put, sound, tar

WAV = sound("wav")


@pytest.mark.parametrize("packed", [False, True])
def test_sounds_of_a_tar_come_with_what_lies_beside_them(tmp_path: Path, read: Reader, packed: bool) -> None:
    kinds = ("wav", "flac", "mp3", "opus")
    told = {"text": " Good day.", "language": "en", "speaker": "s1", "duration": 0.5, "dnsmos": 3.2}
    files: list[tuple[str, bytes | str]] = []
    for kind in kinds:
        files += [(f"a/{kind}.{kind}", sound(kind)), (f"a/{kind}.json", json.dumps(told))]
    files += [("a/plain.wav", WAV), ("a/plain.txt", "Only text.\n"), ("a/bare.wav", WAV), ("notes.md", "no sound")]
    put(tmp_path, {"x.tar.gz" if packed else "x.tar": tar(files, packed=packed)})
    result = read("webdataset")
    assert not result.reasons()
    for name, item in result.found.items():
        made = result.probed[name]
        assert isinstance(made, Decoded)
        assert made.rate_hz in (24000, 48000)
        assert abs(len(made.wave_S) / made.rate_hz - 0.5) < 0.05
        if item.text == "Good day.":
            assert (item.language, item.speaker, item.seconds, item.extra) == ("en", "s1", 0.5, {"dnsmos": 3.2})
    texts = {name.rpartition("/")[2]: item.text for name, item in result.found.items()}
    assert texts == {**{f"{kind}.{kind}": "Good day." for kind in kinds}, "plain.wav": "Only text.", "bare.wav": None}


def test_faults_of_samples_are_rows(tmp_path: Path, read: Reader) -> None:
    files: list[tuple[str, bytes | str]] = [
        ("ok.wav", WAV), ("ok.json", '{"text": "fine"}'),
        ("alone.json", '{"text": "no sound"}'),
        ("twice.wav", WAV), ("twice.wav", WAV), ("twice.json", "{}"),
        ("split.wav", WAV), ("between.wav", WAV), ("between.json", "{}"), ("split.json", '{"text": "late"}'),
        ("Case.wav", WAV), ("case.wav", sound("wav", hz=500)),
        ("broken.wav", WAV), ("broken.json", "{"),
        ("list.wav", WAV), ("list.json", "[1]"),
        ("deep.wav", WAV), ("deep.json", "[" * 100_000),
        ("long.wav", WAV), ("long.txt", "x" * (1 << 21)),
        ("../escape.wav", WAV), ("/absolute.wav", WAV),
        ("inner.tar", tar({"x.wav": WAV})),
    ]  # fmt: skip
    put(tmp_path, {"x.tar": tar(files)})
    result = read("webdataset", need_texts=True)
    reasons = {name.removeprefix("x.tar/"): reason for name, reason in result.reasons().items()}
    expected = {
        "alone": "failed:missing_pair", "twice.wav": "failed:duplicate", "twice.wav#1": "failed:duplicate",
        "split.wav": "failed:missing_pair", "split": "failed:non_contiguous", "Case.wav": "failed:missing_pair",
        "case.wav": "failed:missing_pair", "broken.wav": "failed:metadata: its .json is not JSON",
        "list.wav": "failed:metadata: its .json is no table", "deep.wav": "failed:metadata", "inner": "failed:nested",
        "long.wav": "failed:metadata: its .txt has 2097152 bytes", "../escape": "failed:outside",
        "/absolute": "failed:outside",
    }  # fmt: skip
    assert {name: reason for name, reason in reasons.items() if not reason.startswith(expected.get(name, "?"))} == {}
    assert set(reasons) == set(expected)
    assert sorted(set(result.found) - set(result.reasons())) == ["x.tar/between.wav", "x.tar/ok.wav"]


def test_keys_that_differ_in_case_are_two_recordings(tmp_path: Path, read: Reader) -> None:
    put(tmp_path, {"x.tar": tar({"Key.wav": WAV, "key.wav": sound("wav", hz=500)})})
    first, second = read("webdataset").probed.values()
    assert isinstance(first, Decoded)
    assert isinstance(second, Decoded)
    assert not np.array_equal(first.wave_S, second.wave_S)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.tar", b"", "failed:archive: empty"),
        ("zeros.tar", bytes(10240), "failed:archive: no sound file"),
        ("text.tar", b"hello" * 1000, "failed:archive: not a tar"),
        ("no_end.tar", tar({"a.wav": WAV})[: 512 + len(WAV) + 400], None),
        ("cut.tar", tar({"a.wav": WAV, "b.wav": WAV})[: 512 + len(WAV) + 2000], "failed:cut: the archive ends"),
        ("bzip.tar", b"BZh91AY&SY" + bytes(600), "failed:archive: it is compressed with bzip2"),
        ("cut.tar.gz", tar({"a.wav": WAV, "b.wav": WAV}, packed=True)[:-2000], "failed:archive: cut"),
    ],
)
def test_bad_archive_is_a_row(tmp_path: Path, read: Reader, name: str, data: bytes, reason: str | None) -> None:
    put(tmp_path, {name: data})
    reasons = list(read("webdataset").reasons().values())
    assert any(item.startswith(reason) for item in reasons) if reason else not reasons


def test_folder_without_archives_is_a_sentence(tmp_path: Path, read: Reader) -> None:
    for name, complaint in (("webdataset", "no tar in it"), ("parquet", "no .parquet"), ("kaldi", "no wav.scp")):
        with pytest.raises(Refused, match=complaint):
            read(name)
        with pytest.raises(Refused, match="no such folder"):
            read(name, tmp_path / "nowhere")


AUDIO = {"audio": {"_type": "Audio"}, "kind": {"_type": "ClassLabel", "names": ["male", "female"]}}


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_cells_come_with_their_row(tmp_path: Path, read: Reader, form: str) -> None:
    rows = [
        {
            "id": f"utt{n}", "audio": {"bytes": sound("flac", hz=200 + n), "path": f"{n}.flac"},
            "sentence": f"Text {n}.", "speaker_id": n % 2, "kind": n % 2, "vector": [1.0, 2.0], "duration": 0.5,
        }
        for n in range(5)
    ]  # fmt: skip
    data = parquet(rows, features=AUDIO)
    if form == "parquet":
        put(tmp_path, {"data/train-00000-of-00001.parquet": data})
    else:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
        (tmp_path / "train").mkdir()
        with pyarrow.ipc.new_stream(tmp_path / "train" / "data-00000-of-00001.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    result = read("parquet")
    assert not result.reasons()
    assert len(result.found) == 5
    for number, item in enumerate(result.found.values()):
        assert (item.text, item.speaker, item.split) == (f"Text {number}.", str(number % 2), "train")
        assert item.extra == {"id": f"utt{number}", "kind": ["male", "female"][number % 2]}
        assert item.bytes > 1000
    waves = [made.wave_S for made in result.probed.values() if isinstance(made, Decoded)]
    assert len(waves) == 5
    assert not np.array_equal(waves[0], waves[1])


def test_rows_of_paths_are_followed_below_the_root_alone(tmp_path: Path, read: Reader) -> None:
    put(tmp_path, {"clips/a.wav": WAV, "outside.wav": WAV})
    paths = ["clips/a.wav", "../outside.wav", "/etc/passwd", "gone.wav", None]
    root = tmp_path / "root"
    put(root, {"clips/a.wav": WAV, "t.parquet": parquet([{"audio": {"bytes": None, "path": path}} for path in paths])})
    result = read("parquet", root)
    assert [item.split(":")[1] for item in result.reasons().values()] == ["outside", "outside", "unreadable", "empty"]
    assert isinstance(result.probed["clips/a.wav"], Decoded)


def test_bad_table_is_a_row_and_the_others_are_read(tmp_path: Path, read: Reader) -> None:
    good = parquet([{"audio": {"bytes": WAV, "path": "a.wav"}, "text": "fine"}])
    put(tmp_path, {
        "a.parquet": good, "cut.parquet": good[:-200], "no.parquet": parquet([{"text": "no audio"}]),
        "zero.parquet": b"", "floats.parquet": parquet([{"audio": [0.1, 0.2]}]), "null.parquet": parquet([
            {"audio": {"bytes": WAV, "path": "a"}}, {"audio": {"bytes": None, "path": "b"}}]),
    })  # fmt: skip
    result = read("parquet")
    reasons = result.reasons()
    assert {name.split("/")[0]: reason.split(":")[1] for name, reason in reasons.items()} == {
        "cut.parquet": "table", "no.parquet": "table", "zero.parquet": "table", "floats.parquet": "table",
        "null.parquet": "unreadable",
    }  # fmt: skip
    assert "no column of audio" in reasons["no.parquet/from_00000000"]
    assert isinstance(result.probed["a.parquet/00000000"], Decoded)


def kaldi(root: Path, **more: str) -> None:
    put(root, {
        "audio/r1.wav": sound("wav", seconds=3), "audio/r2.flac": sound("flac"),
        "wav.scp": f"r1 audio/r1.wav\nr2 {root.resolve()}/audio/r2.flac\nr3 sph2pipe -f wav x.sph |\nr4 /etc/passwd\n"
                   "r5 ../x.wav\nr6 raw.ark:17\n",
        "text": "u1 HELLO THERE\nu2 BYE\nr1 WHOLE\nr2 SECOND\n", "utt2spk": "u1 anna\nu2 bob\nr2 bob\n",
        "utt2lang": "u1 en\nr2 en\n", **more,
    })  # fmt: skip


def test_kaldi_recordings_are_whole_files_without_segments(tmp_path: Path, read: Reader) -> None:
    kaldi(tmp_path / "train")
    result = read("kaldi")
    item = result.found["audio/r2.flac"]
    assert (item.text, item.speaker, item.language, item.split) == ("SECOND", "bob", "en", "train")
    assert {name: reason.split(":")[1] for name, reason in result.reasons().items()} == {
        "train/r3": "pipe", "/etc/passwd": "outside", "../x.wav": "outside", "train/r6": "ark",
    }  # fmt: skip


def test_kaldi_segments_are_intervals(tmp_path: Path, read: Reader) -> None:
    kaldi(tmp_path, segments="u1 r1 0.5 1.25\nu2 r1 1.5 2.5\nu3 gone 0 1\nu4 r1 2 1\n")
    result = read("kaldi")
    first, second = (result.probed[f"audio/r1.wav@{start}"] for start in ("0.5", "1.5"))
    assert isinstance(first, Decoded)
    assert isinstance(second, Decoded)
    assert (first.offset_samples, len(first.wave_S), len(second.wave_S)) == (12000, 18000, 24000)
    assert (first.recording.text, first.recording.speaker, first.recording.extra) == (
        "HELLO THERE",
        "anna",
        {"id": "u1"},
    )
    assert {reason.split(":")[1] for reason in result.reasons().values()} == {"missing_pair", "interval"}


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"segments": "u1 r1 zero one\n"}, "`utterance recording start end` is wanted"),
        ({"text": "u1 A\nu1 B\n"}, "u1 is there twice"),
    ],
)
def test_broken_table_of_kaldi_is_a_sentence(
    tmp_path: Path, read: Reader, more: dict[str, str], complaint: str
) -> None:
    kaldi(tmp_path, **more)
    with pytest.raises(Refused, match=complaint):
        read("kaldi")


def test_audio_of_kaldi_may_lie_where_the_manifest_says(tmp_path: Path, read: Reader) -> None:
    put(tmp_path / "sound", {"a.wav": WAV})
    put(tmp_path / "data", {"wav.scp": f"u1 {tmp_path.resolve()}/sound/a.wav\n"})
    assert "failed:outside" in next(iter(read("kaldi", tmp_path / "data").reasons().values()))
    assert not read("kaldi", tmp_path / "data", audio_root=str(tmp_path / "sound")).reasons()


@pytest.mark.filterwarnings("ignore")
def test_what_datasets_writes_is_read(tmp_path: Path, read: Reader) -> None:
    """The library itself writes: a folder as `save_to_disk` makes it, and a parquet shard."""
    datasets = pytest.importorskip("datasets")
    rows = [{"audio": {"bytes": sound("flac", hz=200 + n), "path": None}, "text": f"Text {n}", "gender": n % 2}
            for n in range(5)]  # fmt: skip
    data = datasets.Dataset.from_list(rows).cast_column("audio", datasets.Audio(decode=False))
    data = data.cast_column("gender", datasets.ClassLabel(names=["male", "female"]))
    datasets.DatasetDict({"test": data}).save_to_disk(tmp_path / "disk")
    (tmp_path / "hub" / "en").mkdir(parents=True)
    data.to_parquet(tmp_path / "hub" / "en" / "validation-00000-of-00001.parquet")
    for place, split in (("disk", "test"), ("hub", "validation")):
        result = read("parquet", tmp_path / place)
        assert not result.reasons()
        assert [item.text for item in result.found.values()] == [row["text"] for row in rows]
        assert [item.extra["gender"] for item in result.found.values()] == ["male", "female", "male", "female", "male"]
        assert {(item.split, item.evaluation) for item in result.found.values()} == {(split, True)}


def test_the_name_of_a_class_is_no_transcript(tmp_path: Path, read: Reader) -> None:
    rows = [{"audio": {"bytes": sound("flac"), "path": "a.flac"}, "label": 1}]
    labels = {"audio": {"_type": "Audio"}, "label": {"_type": "ClassLabel", "names": ["calm", "angry"]}}
    put(tmp_path, {"data/train-00000-of-00001.parquet": parquet(rows, features=labels)})
    (item,) = read("parquet").found.values()
    assert (item.text, item.extra["label_name"]) == (None, "angry")


def test_nothing_in_an_archive_or_beside_a_table_is_run(tmp_path: Path, read: Reader) -> None:
    canary = tmp_path / "canary"
    evil = f"import pathlib; pathlib.Path({str(canary)!r}).touch()"
    pickled = f"cbuiltins\nexec\n(S{evil!r}\ntR."
    members: dict[str, bytes | str] = {"a.wav": WAV, "a.json": '{"text": "fine"}'}
    members |= {f"a.{kind}": pickled for kind in ("pyd", "pkl", "pickle", "pth", "npy", "npz")}
    script = f"{evil}\nclass Builder: pass\n"
    put(tmp_path / "root", {
        "x.tar": tar({**members, "b.json": f"!!python/object/apply:exec [{evil!r}]", "b.wav": WAV}), "root.py": script,
        "data/train-0.parquet": parquet([{"audio": {"bytes": WAV, "path": "x"}, "text": pickled}]),
        "dataset_infos.json": "{}", "data/data.py": script,
    })  # fmt: skip
    assert list(read("webdataset", tmp_path / "root").reasons().values())[0].startswith("failed:metadata")
    assert not read("parquet", tmp_path / "root").reasons()
    assert not canary.exists()


def test_segments_are_the_same_wherever_the_recordings_lie(tmp_path: Path) -> None:
    """The same sound in files, tars and tables gives the same keys and the same bytes of sound."""
    from infra.manifest import parse, resolve
    from pipelines.chain import Chain
    from pipelines.ledger import sound_path
    from pipelines.manifest import CorpusManifest
    from pipelines.units import Unit

    sounds = {f"{n}.wav": sound("wav", hz=200 + 50 * n, seconds=1 + n / 2) for n in range(3)}
    put(tmp_path / "folder", sounds)
    put(tmp_path / "webdataset", {"x.tar.gz": tar(sounds, packed=True)})
    put(
        tmp_path / "parquet",
        {"x.parquet": parquet([{"audio": {"bytes": data, "path": None}} for data in sounds.values()])},
    )
    manifest = parse(CorpusManifest, {"name": "toy", "transforms": ["probe", "segment", "loudness"]}, where="toy")
    found = {}
    for name in ("folder", "webdataset", "parquet"):
        chain = Chain(manifest)
        chain.segment.vad.probabilities = lambda wave_S: np.full(-(-len(wave_S) // 512), 0.9, np.float32)
        reader = resolve("pipelines.readers", name)
        unit = Unit("u", tuple(reader.recordings(reader.Config(), tmp_path / name)))
        result = chain.run_unit(unit, tmp_path / f"work of {name}")
        assert result is not None
        rows = [fate.segment for fate in result.fates if fate.segment is not None]
        sound_file = sound_path(tmp_path / f"work of {name}", unit="u", chain=chain.fingerprint)
        found[name] = ([(row["key"], row["recording_sha256"]) for row in rows], sound_file.read_bytes())
    assert len(found["folder"][0]) >= 3
    assert found["folder"] == found["webdataset"] == found["parquet"]
