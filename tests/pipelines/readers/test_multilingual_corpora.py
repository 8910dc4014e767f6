"""Open corpora of many languages: a miniature of the true layout of each, as in test_corpora.py."""

import json
from pathlib import Path

import pytest

from infra.workflow.node import Refused
from pipelines.clip import Decoded
from pipelines.policy.licenses import allows, terms_of
from tests.pipelines.readers.material import Reader, facts, lines, parquet, put, sound, tar


@pytest.mark.parametrize("kind", ["flac", "opus"])
def test_mls(tmp_path: Path, read: Reader, kind: str) -> None:
    root = tmp_path / f"mls_german{'_opus' if kind == 'opus' else ''}"
    put(root, {
        "metainfo.txt": "SPEAKER | GENDER | PARTITION | MINUTES\n 10149 | F | train | 12.3\n",
        "train/transcripts.txt": "10149_10101_000000\tguten tag\n10149_10101_000001\tweg\nnonsense\n",
        f"train/audio/10149/10101/10149_10101_000000.{kind}": sound(kind, rate_hz=16000),
        "test/transcripts.txt": "7_8_000000\tja\n", f"test/audio/7/8/7_8_000000.{kind}": sound(kind, rate_hz=16000),
    })  # fmt: skip
    result = read("mls")
    item = result.found[f"{root.name}/train/audio/10149/10101/10149_10101_000000.{kind}"]
    assert facts(item, "text", "speaker", "language", "split", "evaluation") == (
        "guten tag",
        "10149",
        "de",
        "train",
        False,
    )
    assert item.extra == {"gender": "F"}
    assert [item.split for item in result.found.values() if item.evaluation] == ["test"]
    assert [reason.split(":")[1] for reason in result.reasons().values()] == ["unreadable", "metadata"]
    assert len(read("mls", root).found) == len(result.found)
    with pytest.raises(Refused, match="as in Multilingual LibriSpeech"):
        read("mls", root / "train")


def test_msr_86k_cuts_videos_into_segments(tmp_path: Path, read: Reader) -> None:
    segments = [
        {"sid": "a_0", "begin_time": 0.5, "end_time": 1.0, "text_tn": "안녕"},
        {"sid": "a_1", "begin_time": "1.0", "end_time": "1.75", "text_tn": "네"},
        {"sid": "a_2", "begin_time": 3, "end_time": 2, "text_tn": "x"},
    ]
    table = {
        "dataset": "MSR",
        "audios": [{"aid": "abcDEF12345", "segments": segments}, {"aid": "gone", "segments": segments}],
    }
    put(tmp_path, {
        "KR/train.json": json.dumps(table, indent=1),
        "KR/train/abcDEF12345.opus": sound("opus", rate_hz=16000, seconds=2), "KR/dev.json": json.dumps({"audios": []}),
    })  # fmt: skip
    result = read("msr_86k")
    name = "KR/train/abcDEF12345.opus"
    item = result.found[f"{name}@0.5"]
    assert facts(item, "text", "language", "split", "end_seconds", "speaker") == ("안녕", "ko", "train", 1.0, None)
    assert terms_of(item.license) == {"by", "nc", "nd", "third-party", "research"}
    made = result.probed[f"{name}@1"]
    assert isinstance(made, Decoded)
    assert (len(made.wave_S), made.offset_samples) == (round(0.75 * made.rate_hz), made.rate_hz)
    assert {reason.split(":")[1] for reason in result.reasons().values()} == {"missing_pair", "interval"}
    put(tmp_path, {"KR/train.json": json.dumps(table)[:-40]})
    with pytest.raises(Refused, match="breaks off"):
        read("msr_86k")


def test_msr_86k_table_is_read_entry_by_entry(tmp_path: Path) -> None:
    from pipelines.readers.msr_86k import audios_of

    audios = [
        {"aid": f"{n:011d}", "segments": [{"text_tn": "word " * 200, "begin_time": 0, "end_time": 1}]}
        for n in range(3000)
    ]
    put(tmp_path, {"train.json": json.dumps({"audios": audios})})
    assert (tmp_path / "train.json").stat().st_size > 2 << 20
    assert [entry["aid"] for entry in audios_of(tmp_path / "train.json")] == [entry["aid"] for entry in audios]


def test_indicvoices_r_in_both_forms(tmp_path: Path, read: Reader) -> None:
    row = {
        "text": "नमस्ते", "verbatim": "नमस्ते जी", "normalized": "नमस्ते", "speaker_id": "S42", "gender": "Male", "snr": 31.5,
        "duration": 0.5, "scenario": "Read",
    }  # fmt: skip
    cell = {"bytes": sound(rate_hz=48000), "path": "a.wav"}
    put(tmp_path / "hub", {
        "Hindi/train-00000-of-00001.parquet": parquet([{**row, "lang": "hi", "audio": cell}]),
        "Santali/test-00000-of-00001.parquet": parquet([{**row, "lang": None, "audio": cell}]),
        "Bodo/train-00000-of-00001.parquet": parquet([{**row, "lang": "bodo", "audio": cell}]),
    })  # fmt: skip
    result = read("indicvoices_r", tmp_path / "hub")
    item = result.found["Hindi/train-00000-of-00001.parquet/00000000"]
    assert facts(item, "text", "speaker", "language", "split", "evaluation") == ("नमस्ते", "S42", "hi", "train", False)
    assert item.extra["verbatim"] == "नमस्ते जी"
    test = result.found["Santali/test-00000-of-00001.parquet/00000000"]
    assert facts(test, "split", "evaluation", "language") == ("test", True, "sat")
    assert result.found["Bodo/train-00000-of-00001.parquet/00000000"].language == "brx"
    assert not result.reasons()
    put(tmp_path / "tar", {
        "Tamil/metadata_train.json": lines([{**row, "filename": "a.wav"}, {**row, "filename": "gone.wav"}]),
        "Tamil/wavs/a.wav": sound(rate_hz=48000),
    })  # fmt: skip
    result = read("indicvoices_r", tmp_path / "tar")
    assert result.found["Tamil/wavs/a.wav"].language == "ta"
    assert list(result.reasons()) == ["Tamil/gone.wav"]


def test_eurospeech_has_a_license_a_country(tmp_path: Path, read: Reader) -> None:
    row = {
        "key": "k1", "video_id": "v", "start_seconds": 10.0, "end_seconds": 10.5, "duration_seconds": 0.5, "cer": 0.04,
        "wer": 0.1, "asr_transcript": "signor", "human_transcript": "Signor Presidente.",
        "audio": {"bytes": sound("flac", rate_hz=16000), "path": None},
    }  # fmt: skip
    put(tmp_path, {
        "italy/train-00000-of-00002.parquet": parquet([row, {**row, "cer": 0.3}]),
        "germany/validation-00000-of-00001.parquet": parquet([row]),
        "lithuania_0.06_cer_filtered/test-00000-of-00001.parquet": parquet([row]),
    })  # fmt: skip
    result = read("eurospeech", max_cer=0.2)
    item = result.found["italy/train-00000-of-00002.parquet/00000000"]
    assert facts(item, "text", "language", "license", "split", "speaker") == (
        "Signor Presidente.",
        "it",
        "CC-BY-4.0",
        "train",
        None,
    )
    assert facts(item, "start_seconds", "seconds") == (None, 0.5), "the cell is the interval"
    german = result.found["germany/validation-00000-of-00001.parquet/00000000"]
    assert facts(german, "language", "evaluation") == ("de", True)
    assert not allows(german.license, "redistribution")
    assert allows(item.license, "commercial")
    assert result.found["lithuania_0.06_cer_filtered/test-00000-of-00001.parquet/00000000"].language == "lt"
    assert [reason.split(":")[1] for reason in result.reasons().values()] == ["transcript"]
    read_it = read("eurospeech", countries=["germany"], licenses={"germany": "CC0-1.0"})
    assert [item.license for item in read_it.found.values()] == ["CC0-1.0"]


def test_waxal_tts(tmp_path: Path, read: Reader) -> None:
    row = {
        "id": "1", "speaker_id": "waxal_7", "text": "Habari.", "locale": "swa", "gender": "F",
        "audio": {"bytes": sound(rate_hz=48000), "path": "1.wav"},
    }  # fmt: skip
    older = {key: value for key, value in row.items() if key not in ("text", "locale")} | {"transcription": "Apwoyo."}
    put(tmp_path, {
        "data/TTS/swa/swa-train-00000-of-00001.parquet": parquet([row]),
        "data/TTS/ach/ach-test-00000-of-00001.parquet": parquet([older]),
        "data/ASR/swa/swa-train-00000-of-00001.parquet": parquet([row]),
    })  # fmt: skip
    result = read("waxal_tts")
    item = result.found["data/TTS/swa/swa-train-00000-of-00001.parquet/00000000"]
    assert facts(item, "text", "speaker", "language", "split", "evaluation") == (
        "Habari.",
        "waxal_7",
        "sw",
        "train",
        False,
    )
    test = result.found["data/TTS/ach/ach-test-00000-of-00001.parquet/00000000"]
    assert facts(test, "text", "language", "split", "evaluation") == ("Apwoyo.", "ach", "test", True)
    assert len(result.found) == 2, "tables of ASR are another corpus"
    with pytest.raises(Refused, match="of WaxalNLP in it"):
        read("waxal_tts", tmp_path / "data" / "ASR", languages=["yor"])


FLEURS = "1675\t{file}.wav\tHallo, Welt!\thallo welt\th a l l o |\t12000\tFEMALE\n"


def test_fleurs_is_an_evaluation_set_in_every_form(tmp_path: Path, read: Reader) -> None:
    wav = sound(rate_hz=16000, seconds=0.75)
    table = FLEURS.format(file="1000") + FLEURS.format(file="gone")
    put(tmp_path / "hub/data/de_de", {
        "test.tsv": table, "audio/test.tar.gz": tar({"test/1000.wav": wav, "test/stray.wav": wav}, packed=True),
        "train.tsv": FLEURS.format(file="2000"), "audio/train.tar.gz": tar({"train/2000.wav": wav}, packed=True),
    })  # fmt: skip
    result = read("fleurs", tmp_path / "hub")
    item = result.found["data/de_de/audio/test.tar.gz/test/1000.wav"]
    assert facts(item, "text", "language", "split", "seconds") == ("Hallo, Welt!", "de", "test", 0.75)
    assert isinstance(result.probed[item.name], Decoded)
    assert all(item.evaluation for item in result.found.values())
    assert [reason.split(":")[1] for reason in result.reasons().values()] == ["missing_pair", "missing_pair"]
    put(tmp_path / "unpacked", {"metadata/cmn_hans_cn/dev.tsv": table, "cmn_hans_cn/dev/1000.wav": wav})
    result = read("fleurs", tmp_path / "unpacked")
    assert facts(result.found["cmn_hans_cn/dev/1000.wav"], "language", "split", "evaluation") == ("zh", "dev", True)
    assert len(result.reasons()) == 1
    row = {
        "id": 5,
        "audio": {"bytes": wav, "path": "x"},
        "transcription": "hi",
        "raw_transcription": "Hi!",
        "gender": 1,
    }
    put(tmp_path / "tables", {"en_us/train-00000-of-00001.parquet": parquet([row])})
    (item,) = read("fleurs", tmp_path / "tables").found.values()
    assert facts(item, "text", "language", "split", "evaluation") == ("Hi!", "en", "train", True)
    put(tmp_path / "broken", {"en_us/test.tsv": "only one column\n"})
    with pytest.raises(Refused, match="a row has 7 columns"):
        read("fleurs", tmp_path / "broken")
