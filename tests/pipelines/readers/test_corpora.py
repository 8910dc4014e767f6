"""Open corpora: a miniature of the true layout of each is read, with speaker, language, text, license and split."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.workflow.node import Refused
from pipelines.clip import Decoded
from pipelines.policy.licenses import allows, terms_of
from tests.pipelines.readers.material import Reader, facts, lines, put, sound, tar


def emilia_row(key: str, **more: Any) -> dict[str, Any]:
    speaker = key.rpartition("_")[0]
    wav = f"{key[:9]}/{speaker}/mp3/{key}.mp3"
    row = {
        "id": key,
        "wav": wav,
        "text": " Und jetzt.",
        "duration": 0.5,
        "speaker": speaker,
        "language": "de",
        "dnsmos": 3.3697,
    }
    return {**row, **more}


def test_emilia_tars(tmp_path: Path, read: Reader) -> None:
    one, two = "DE_B00000_S00000_W000029", "DE_B00000_S00001_W000000"
    members = [(f"{one}.mp3", sound("mp3")), (f"{one}.json", json.dumps(emilia_row(one)))]
    bare = [(f"{two}.mp3", sound("mp3"))]
    put(tmp_path, {
        "Emilia/DE/DE-B000000.tar": tar([*members, *bare]), "Emilia-YODAS/DE/DE-B000000.tar": tar(members),
        "Emilia/EN/EN-B000000.tar": tar(members)[:900],
    })  # fmt: skip
    result = read("emilia")
    item = result.found[f"Emilia/DE/DE-B000000.tar/{one}.mp3"]
    assert facts(item, "text", "speaker", "language", "seconds") == ("Und jetzt.", "DE_B00000_S00000", "de", 0.5)
    assert (item.extra["dnsmos"], item.evaluation) == (3.3697, False)
    assert isinstance(result.probed[item.name], Decoded)
    assert terms_of(item.license) == {"by", "nc", "third-party"}
    yodas = result.found[f"Emilia-YODAS/DE/DE-B000000.tar/{one}.mp3"]
    assert allows(yodas.license, "commercial")
    assert not allows(item.license, "commercial")
    assert {name: reason.split(":")[1] for name, reason in result.reasons().items()} == {
        f"Emilia/DE/DE-B000000.tar/{two}.mp3": "missing_pair",
        f"Emilia/EN/EN-B000000.tar/{one}": "cut", "Emilia/EN/EN-B000000.tar": "archive",
    }  # fmt: skip
    assert all("YODAS" in name for name in read("emilia", under="Emilia-YODAS").found)


def test_emilia_folders_of_the_first_release(tmp_path: Path, read: Reader) -> None:
    one, gone = "DE_B00000_S00000_W000029", "DE_B00000_S00000_W000030"
    evil = emilia_row("DE_B00000_S00000_W000031", wav="../../../secret.mp3")
    put(tmp_path, {
        "raw/DE/DE_B00000.jsonl": lines([emilia_row(one), emilia_row(gone), evil]),
        f"raw/DE/{emilia_row(one)['wav']}": sound("mp3"), "secret.mp3": sound("mp3"),
    })  # fmt: skip
    result = read("emilia", tmp_path / "raw")
    assert isinstance(result.probed[f"DE/{emilia_row(one)['wav']}"], Decoded)
    assert [reason.split(":")[1] for reason in result.reasons().values()] == ["unreadable", "outside"]


def test_libritts_r(tmp_path: Path, read: Reader) -> None:
    files: dict[str, bytes | str] = {
        "LibriTTS_R/speakers.tsv": "READER\tGENDER\tSUBSET\tNAME\n19\tF\ttrain-clean-100\tK\n"
    }
    for part, speaker in (("train-clean-100", "19"), ("dev-clean", "84"), ("test-other", "367")):
        stem = f"LibriTTS_R/{part}/{speaker}/198/{speaker}_198_000000_000000"
        files |= {
            f"{stem}.wav": sound(),
            f"{stem}.normalized.txt": "Chapter one.\n",
            f"{stem}.original.txt": "CHAPTER 1.",
        }
    spoilt = "train-clean-100/19/198/19_198_000002_000000"
    lists = "libritts_r_failed_speech_restoration_examples"
    put(tmp_path, {
        **files, "LibriTTS_R/train-clean-100/19/198/19_198_000001_000000.wav": sound(),
        f"LibriTTS_R/{spoilt}.wav": sound(), f"LibriTTS_R/{spoilt}.normalized.txt": "Chapter two.\n",
        f"{lists}/train-clean-100_bad_sample_list.txt": f"./{spoilt}.wav\n",
    })  # fmt: skip
    result = read("libritts_r")
    item = result.found["LibriTTS_R/train-clean-100/19/198/19_198_000000_000000.wav"]
    assert facts(item, "text", "speaker", "language", "split", "evaluation") == (
        "Chapter one.", "19", "en", "train-clean-100", False,
    )  # fmt: skip
    assert item.extra == {"gender": "F"}
    assert {made.split for made in result.found.values() if made.evaluation} == {"dev-clean", "test-other"}
    assert [reason.split(":")[:2] for _, reason in sorted(result.reasons().items())] == [
        ["failed", "missing_pair"], ["dropped", "restoration"],
    ]  # fmt: skip


def hifi_row(name: str) -> dict[str, Any]:
    return {
        "audio_filepath": f"audio/92_clean/{name}.flac", "text": "hello there", "duration": 0.5,
        "text_no_preprocessing": "Hello there 1!", "text_normalized": "Hello there one!",
    }  # fmt: skip


def test_hifi_tts(tmp_path: Path, read: Reader) -> None:
    put(tmp_path, {
        "92_manifest_clean_train.json": lines([hifi_row("a"), hifi_row("gone")]), "notes.json": "{}",
        "92_manifest_clean_test.json": lines([hifi_row("b")]), "audio/92_clean/a.flac": sound("flac", rate_hz=44100),
        "audio/92_clean/b.flac": sound("flac", rate_hz=44100),
    })  # fmt: skip
    result = read("hifi_tts")
    item = result.found["audio/92_clean/a.flac"]
    assert facts(item, "text", "speaker", "language", "split", "seconds") == (
        "Hello there one!",
        "92",
        "en",
        "train",
        0.5,
    )
    assert item.extra == {"quality": "clean"}
    assert result.found["audio/92_clean/b.flac"].evaluation
    assert list(result.reasons()) == ["audio/92_clean/gone.flac"]
    put(tmp_path, {"92_manifest_clean_train.json": "{"})
    with pytest.raises(Refused, match="row 1: not JSON"):
        read("hifi_tts")


def test_hifi_tts_2_and_chapters_that_librivox_no_longer_has(tmp_path: Path, read: Reader) -> None:
    rows = [
        {"audio_filepath": f"1/9/{name}.flac", "speaker": "1", "set": part, "duration": 0.5, "text": "hello",
         "bandwidth": 11025, "cer": 0.0}
        for name, part in (("a", "train"), ("rotten", "train"), ("gone", "train"), ("t", "test_unseen"))
    ]  # fmt: skip
    error = {
        "url": "x",
        "chapter_filepath": "1/9/r.flac",
        "error_code": 404,
        "utterances": [{"audio_filepath": "1/9/rotten.flac"}],
    }
    put(tmp_path, {
        "manifest_22khz.json": lines(rows), "errors_22khz.json": lines([error]), "manifest_44khz.json": lines(rows[:1]),
        "audio_22khz/1/9/a.flac": sound("flac", rate_hz=22050), "audio_22khz/1/9/t.flac": sound("flac", rate_hz=22050),
    })  # fmt: skip
    result = read("hifi_tts_2")
    item = result.found["audio_22khz/1/9/a.flac"]
    assert facts(item, "text", "speaker", "language", "split", "evaluation") == ("hello", "1", "en", "train", False)
    assert item.extra["bandwidth"] == 11025
    assert result.found["audio_22khz/1/9/t.flac"].evaluation
    assert {name: reason.partition(":")[2].split(":")[0] for name, reason in result.reasons().items()} == {
        "audio_22khz/1/9/rotten.flac": "link_rot", "audio_22khz/1/9/gone.flac": "unreadable",
    }  # fmt: skip
    put(tmp_path, {"manifest_filtered_22khz.json": lines(rows[:1])})
    assert list(read("hifi_tts_2").found) == ["audio_22khz/1/9/a.flac"]
    with pytest.raises(Refused, match="manifest_22khz.json: missing, but HiFiTTS-2 has it"):
        read("hifi_tts_2", tmp_path / "audio_22khz")


def test_wenetspeech4tts_keeps_one_copy_and_its_tier(tmp_path: Path, read: Reader) -> None:
    ids = {
        "Premium": "X0000015306_83500032_S00110",
        "Standard": "X0000015307_1_S00001",
        "Basic": "X0000015308_1_S00001",
    }
    files: dict[str, bytes | str] = {}
    for tier, key in ids.items():
        folder = f"{tier}/WenetSpeech4TTS_{tier}_9"
        files |= {
            f"{folder}/wavs/{key}.wav": sound(rate_hz=16000),
            f"{folder}/txts/{key}.txt": f"{key}\t你好吗\n0.0 1.0\n",
        }
    listed = [f"{key} ../{tier}/WenetSpeech4TTS_{tier}_9/wavs/{key}.wav\n" for tier, key in ids.items()]
    listed += ["evil ../../../etc/wavs/x.wav\n", "gone ../Basic/WenetSpeech4TTS_Basic_9/wavs/gone.wav\n"]
    put(tmp_path, {
        **files, "filelists/Basic_filelist.lst": "".join(listed), "filelists/Premium_filelist.lst": listed[0],
        "DNSMOS_P808Scores/Basic_DNSMOS.lst": f"{ids['Premium']} 4.1\n",
    })  # fmt: skip
    result = read("wenetspeech4tts")
    tiers = {item.extra["tier"]: item for item in result.found.values() if item.fault is None}
    assert set(tiers) == {"Premium", "Standard", "Basic"}
    assert facts(tiers["Premium"], "text", "language", "speaker") == ("你好吗", "zh", None)
    assert tiers["Premium"].extra["dnsmos"] == 4.1
    assert [reason.split(":")[1] for reason in result.reasons().values()] == ["missing_pair"], "evil has no such tier"
    assert {item.extra["tier"] for item in read("wenetspeech4tts", tiers=["Premium"]).found.values()} == {"Premium"}
    for name in ("filelists/Basic_filelist.lst", "filelists/Premium_filelist.lst"):
        (tmp_path / name).unlink()
    assert len(read("wenetspeech4tts").found) == 3


def test_aishell3_parts_text_from_pinyin(tmp_path: Path, read: Reader) -> None:
    content = "SSB00050001.wav\t广 guang3 州 zhou1 女 nv3 大 da4 A a1\nSSB00050002.wav 没有\nSSB00050003.wav\t好 hao3\n"
    content += "SSB00050004.wav\t嗯 n 花儿 huar1\nSSB00050005.wav\t一 二 er4\n"
    put(tmp_path, {
        "train/content.txt": content, "train/wav/SSB0005/SSB00050001.wav": sound(rate_hz=44100),
        "test/content.txt": "SSB00110001.wav\t好 hao3\n", "test/wav/SSB0011/SSB00110001.wav": sound(rate_hz=44100),
        "spk-info.txt": "# id\tage\tgender\taccent\nSSB0005\tC:26 - 40\tfemale\tsouth\n",
    })  # fmt: skip
    result = read("aishell3")
    item = result.found["train/wav/SSB0005/SSB00050001.wav"]
    assert facts(item, "text", "speaker", "language", "split", "evaluation") == (
        "广州女大A",
        "SSB0005",
        "zh",
        "train",
        False,
    )
    assert item.extra == {"pinyin": "guang3 zhou1 nv3 da4 a1", "gender": "female"}
    assert result.found["test/wav/SSB0011/SSB00110001.wav"].evaluation
    texts = [result.found[f"train/wav/SSB0005/SSB0005000{number}.wav"].text for number in (4, 5)]
    assert texts == ["嗯花儿", "一二"], "a syllable without a tone; a character without a syllable"
    assert [reason.split(":")[1] for reason in result.reasons().values()] == ["metadata", *["unreadable"] * 3]
    (tmp_path / "test" / "content.txt").unlink()
    with pytest.raises(Refused, match=r"test/content.txt: missing, but AISHELL-3 has it"):
        read("aishell3")


def test_magicdata_without_marks_and_broken_files(tmp_path: Path, read: Reader) -> None:
    head = "UtteranceID\tSpeakerID\tTranscription\n"
    rows = [
        "14_3466_20170826171404.wav\t14_3466\t今天 [FIL] 星期一",
        "16_4013_20170819121429.wav\t16_4013\t坏",
        "a.wav\t1",
    ]
    put(tmp_path, {
        "train/TRANS.txt": head + "\n".join(rows) + "\n",
        "train/14_3466/14_3466_20170826171404.wav": sound(rate_hz=16000),
        "dev/TRANS.txt": head + "5_1.wav\t5_1\t好\n", "dev/5_1/5_1.wav": sound(rate_hz=16000),
    })  # fmt: skip
    result = read("magicdata")
    item = result.found["train/14_3466/14_3466_20170826171404.wav"]
    assert facts(item, "text", "speaker", "language", "split", "evaluation") == (
        "今天 星期一",
        "14_3466",
        "zh",
        "train",
        False,
    )
    assert result.found["dev/5_1/5_1.wav"].evaluation
    assert [reason.split(":")[1] for reason in result.reasons().values()] == ["metadata", "metadata"]


def test_autoacd_joins_captions_with_the_clips_that_are_there(tmp_path: Path, read: Reader) -> None:
    caption = '"The rain falls, and a dog barks."'
    keys = ["--cB2ZVjpnA", "abcDEF12345", "Yxyz_-678901", "notthere123", "klmnopqrstu_30000", "klmnopqrstu_90000"]
    put(tmp_path, {
        "train.csv": "youtube_id,caption\n" + "".join(f"{key},{caption}\n" for key in keys),
        "test.csv": f"youtube_id,caption\nzzzzzzzzzzz,{caption}\n", "audio/zzzzzzzzzzz_000030.flac": sound("flac"),
        "audio/Y--cB2ZVjpnA.wav": sound(), "audio/abcDEF12345_30.000.flac": sound("flac"),
        "audio/xyz_-678901.wav": sound(), "audio/klmnopqrstu_90000.wav": sound(),
        "audio/klmnopqrstu_30000.wav": sound(),
    })  # fmt: skip
    result = read("autoacd")
    item = result.found["audio/Y--cB2ZVjpnA.wav"]
    assert item.extra == {"caption": "The rain falls, and a dog barks.", "youtube_id": "--cB2ZVjpnA"}
    assert facts(item, "text", "language", "split") == (None, None, "train")
    assert item.source == "https://www.youtube.com/watch?v=--cB2ZVjpnA"
    assert terms_of(item.license) == {"third-party"}
    assert len([name for name in result.found if name.startswith("audio/")]) == 6
    late = result.found["audio/klmnopqrstu_90000.wav"]
    assert late.extra["youtube_id"] == "klmnopqrstu_90000"
    assert late.source == "https://www.youtube.com/watch?v=klmnopqrstu"
    assert result.found["audio/zzzzzzzzzzz_000030.flac"].evaluation
    assert result.reasons() == {"train.csv": "dropped:no_audio: 1 of 6 captions have no clip in audio/"}
    with pytest.raises(Refused, match="no train.csv or test.csv"):
        read("autoacd", tmp_path / "audio")


def test_seed_tts_eval_prompts_are_evaluation(tmp_path: Path, read: Reader) -> None:
    row = "common_1-common_2|We asked.|prompt-wavs/common_1.wav|He answered.\n"
    put(tmp_path / "en", {
        "meta.lst": row + row.replace("common_2|", "common_3|") + "broken\n", "prompt-wavs/common_1.wav": sound(),
        "wavs/common_1-common_2.wav": sound(),
    })  # fmt: skip
    result = read("seed_tts_eval")
    prompt = result.found["en/prompt-wavs/common_1.wav"]
    assert facts(prompt, "text", "language", "evaluation") == ("We asked.", "en", True)
    assert result.found["en/wavs/common_1-common_2.wav"].text == "He answered."
    assert [reason.split(":")[1] for reason in result.reasons().values()] == ["metadata"]


CORPORA = (
    "emilia", "libritts_r", "hifi_tts", "hifi_tts_2", "wenetspeech4tts", "aishell3", "magicdata", "mls", "msr_86k",
    "indicvoices_r", "eurospeech", "waxal_tts", "fleurs", "autoacd", "seed_tts_eval",
)  # fmt: skip


@pytest.mark.parametrize("name", CORPORA)
def test_folder_that_is_not_this_corpus_is_a_sentence(tmp_path: Path, read: Reader, name: str) -> None:
    put(tmp_path / "other", {"readme.txt": "nothing of the kind"})
    with pytest.raises(Refused, match=r"no such folder of .*; its manifest says how to get it"):
        read(name, tmp_path / "none")
    with pytest.raises(Refused, match=r"(in it|missing, but)"):
        read(name, tmp_path / "other")
