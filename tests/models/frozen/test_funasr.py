"""Paraformer, SenseVoice and ct-punc load FunASR's layouts from a path, refuse wrong ones, answer each input."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.frozen import WeightsError
from models.frozen.ct_punc import CtPunc
from models.frozen.paraformer import Paraformer
from models.frozen.paraformer import recognizer as paraformer
from models.frozen.sensevoice import SenseVoice, untagged
from models.frozen.sensevoice import recognizer as sensevoice
from tests.checkpoints import TIMED, write_ct_punc, write_paraformer, write_sensevoice

NOISE = [np.random.default_rng(seed).normal(0, 0.1, size=n).astype(np.float32) for seed, n in ((0, 16000), (1, 40000))]


@pytest.fixture(scope="module")
def tiny_paraformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_paraformer(tmp_path_factory.mktemp("paraformer"))


@pytest.fixture(scope="module")
def tiny_sensevoice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sensevoice(tmp_path_factory.mktemp("sensevoice"))


@pytest.fixture(scope="module")
def tiny_ct_punc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ct_punc(tmp_path_factory.mktemp("ct_punc"))


def test_paraformer_hears_one_text_a_waveform_whatever_came_before(tiny_paraformer: Path) -> None:
    model = Paraformer(tiny_paraformer)
    heard = model([NOISE[1], NOISE[1][:100]])
    assert [item.language for item in heard] == ["zh", "zh"]
    assert heard[1].text == "", "too short to hear anything"
    assert model([NOISE[0], NOISE[1]])[1] == heard[0]
    assert set(heard[0].text) <= set("今天好"), heard[0].text


def test_paraformer_refuses_weights_that_are_not_those_of_its_config(tiny_paraformer: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "tokens.json", "am.mvn"):
        (tmp_path / name).write_bytes((tiny_paraformer / name).read_bytes())
    stored = torch.load(tiny_paraformer / "model.pt", weights_only=True)
    lacking = {name: value for name, value in stored.items() if "decoder.decoders.0.norm1" not in name}
    torch.save(lacking, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"lacks 2 tensors \(decoder\.decoders\.0\.norm1"):
        paraformer(tmp_path)(NOISE[:1], [None])
    name = "encoder.encoders0.0.feed_forward.w_1.bias"
    torch.save({**stored, name: torch.zeros(3)}, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="is no whole FunASR model"):
        paraformer(tmp_path)(NOISE[:1], [None])


def test_a_paraformer_with_timestamps_hears_no_text_where_it_finds_none_of_its_tokens_in_the_sound(
    tmp_path: Path,
) -> None:
    folder = write_paraformer(tmp_path, TIMED)
    assert Paraformer(folder)(NOISE)[1].text, "with these weights there are tokens"
    stored = torch.load(folder / "model.pt", weights_only=True)
    stored["predictor.cif_output2.bias"].fill_(-100)
    torch.save(stored, folder / "model.pt")
    assert [item.text for item in Paraformer(folder)(NOISE)] == ["", ""]


def test_a_missing_paraformer_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no Paraformer model folder at .*; put a FunASR model folder"):
        paraformer(tmp_path / "none")
    with pytest.raises(WeightsError, match=r"neither config\.yaml"):
        paraformer(tmp_path)


def test_sensevoice_hears_one_text_a_waveform_without_its_tags(tiny_sensevoice: Path) -> None:
    model = SenseVoice(tiny_sensevoice)
    heard = model([*NOISE, NOISE[0][:100]], ["zh", None, "en"])
    assert all("<|" not in item.text for item in heard)
    assert all(item.text for item in heard[:2])
    assert (heard[2].text, heard[2].language) == ("", "en"), "too short to hear anything"
    assert model(NOISE[::-1], [None, "zh"]) == heard[1::-1], "a text depends on the clips before it"


def test_sensevoice_hears_the_same_in_the_same_faint_sound_though_its_folder_asks_for_dither(
    tiny_sensevoice: Path,
) -> None:
    faint = NOISE[1] * np.float32(1e-4)
    assert len({item.text for item in SenseVoice(tiny_sensevoice)([faint] * 4)}) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.pt", b"version https://git-lfs.github.com/spec/v1", "is no whole FunASR model"),
        ("model.pt", None, r"lacks its weights \(model\.pt\)"),
        ("am.mvn", None, r"has no am\.mvn: means and variances"),
        ("am.mvn", b"<html>", r"has an am\.mvn of shape \(2, 0\), not \(2, 560\)"),
        ("config.yaml", b"model: [", "is no whole FunASR model"),
        ("configuration.json", b"{", "is no whole FunASR model"),
    ],
)
def test_a_folder_with_a_broken_file_is_a_sentence(
    tiny_sensevoice: Path, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    broken = shutil.copytree(tiny_sensevoice, tmp_path / "broken")
    (broken / name).unlink() if content is None else (broken / name).write_bytes(content)
    with pytest.raises(WeightsError, match=said):
        SenseVoice(broken)(NOISE[:1], [None])


def test_a_folder_of_another_network_is_a_sentence(tiny_sensevoice: Path, tiny_ct_punc: Path) -> None:
    with pytest.raises(WeightsError, match="holds a SenseVoiceSmall, and no Paraformer"):
        Paraformer(tiny_sensevoice)(NOISE[:1])
    with pytest.raises(WeightsError, match="holds a CTTransformer, and no SenseVoiceSmall"):
        SenseVoice(tiny_ct_punc)(NOISE[:1])


def test_code_that_a_folder_brings_along_is_not_run(tiny_ct_punc: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_ct_punc, tmp_path / "folder")
    (tmp_path / "brought.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with (folder / "config.yaml").open("a") as config:
        config.write(f"trust_remote_code: true\nremote_code: {tmp_path / 'brought.py'}\n")
    assert CtPunc(folder)("hello there")
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_is_called_as_a_model_of_the_hub_is_that_folder(
    tiny_ct_punc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_ct_punc, tmp_path / "ct-punc")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "funasr.download.download_model_from_hub.get_or_download_model_dir", lambda *_, **__: pytest.fail("it asked")
    )
    assert CtPunc(Path("ct-punc"))("hello there") == CtPunc(tiny_ct_punc)("hello there")


def test_loading_leaves_the_log_as_it_was(
    tiny_ct_punc: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    before = logging.getLogger().level
    CtPunc(tiny_ct_punc)("hello there")
    assert (logging.getLogger().handlers, logging.getLogger().level) == ([], before)
    assert capfd.readouterr() == ("", "")


def test_the_tags_of_sensevoice_are_facts_and_not_words() -> None:
    heard = untagged("<|zh|><|NEUTRAL|><|Speech|><|woitn|>今 天 好", told=None)
    assert (heard.text, heard.language, heard.no_speech) == ("今天好", "zh", 0.0)
    silence = untagged("<|nospeech|><|EMO_UNKNOWN|><|Event_UNK|><|woitn|>", told="en")
    assert (silence.text, silence.language, silence.no_speech) == ("", "en", 1.0)


def test_sensevoice_refuses_weights_that_lack_a_tensor(tiny_sensevoice: Path, tmp_path: Path) -> None:
    for file in tiny_sensevoice.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    stored = torch.load(tiny_sensevoice / "model.pt", weights_only=True)
    torch.save({name: value for name, value in stored.items() if name != "embed.weight"}, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"lacks 1 tensors \(embed\.weight\); put a SenseVoiceSmall folder"):
        sensevoice(tmp_path)(NOISE[:1], [None])
    with pytest.raises(WeightsError, match=r"checkpoints\.sensevoice"):
        sensevoice(None)


def test_ct_punc_adds_marks_and_capitals_and_keeps_every_letter(tiny_ct_punc: Path) -> None:
    punctuate = CtPunc(tiny_ct_punc)
    for text in ("hello there hello", "今天好今天", "今天 hello 好"):
        marked = punctuate(text)
        letters = [c for c in marked.lower() if c.isalnum()]
        assert letters == [c for c in text if c.isalnum()]
        assert marked != text
    assert punctuate("hello there") == punctuate("hello there")
    assert punctuate("") == ""


@pytest.mark.parametrize("text", ["NASA hello there", "the café is there", "don’t hello", "ask Señora Núñez there"])
def test_ct_punc_keeps_words_apart_and_their_capitals(tiny_ct_punc: Path, text: str) -> None:
    marked = CtPunc(tiny_ct_punc)(text)
    words = "".join(c for c in marked if c not in ",.?").split()
    assert [word.lower() for word in words] == text.lower().split(), marked
    kept = zip("".join(text.split()), "".join(words), strict=True)
    assert all(there.isupper() or not said.isupper() for said, there in kept), marked


def test_ct_punc_without_its_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no ct-punc model folder at .*; put a FunASR ct-punc folder"):
        CtPunc(tmp_path / "none")
