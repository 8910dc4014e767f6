"""Whisper, by both engines: the true layouts load from a path, wrong ones are refused, one text a waveform."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.frozen import WeightsError
from models.frozen import faster_whisper as faster
from models.frozen.faster_whisper import FasterWhisper
from models.frozen.whisper import WINDOW, Whisper, recognizer
from tests.checkpoints import write_faster_whisper, write_whisper

NOISE = [np.random.default_rng(seed).normal(0, 0.1, size=n).astype(np.float32) for seed, n in ((0, 16000), (1, 40000))]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whisper(tmp_path_factory.mktemp("whisper") / "tiny.pt")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faster_whisper(tmp_path_factory.mktemp("faster_whisper"))


def test_whisper_hears_one_text_a_waveform_and_names_the_language_where_none_is_given(tiny: Path) -> None:
    heard = Whisper(tiny)(NOISE, ["de", None])
    assert len(heard) == 2
    assert heard[0].language == "de"
    assert heard[1].language == Whisper(tiny).languages(NOISE)[1].language
    assert all(item.log_probability is not None and item.log_probability < 0 for item in heard)
    assert all(item.no_speech is not None and 0 <= item.no_speech <= 1 for item in heard)
    assert Whisper(tiny)(NOISE[::-1], [None, "de"])[::-1] == heard, "a text depends on the clips before it"


@pytest.mark.parametrize(("code", "answer"), [("fil", "fil"), ("jv", "jv"), ("nb", "no")])
def test_languages_that_whisper_calls_otherwise_are_told_to_it_as_here(
    tiny: Path, converted: Path, code: str, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = FasterWhisper(converted)
    monkeypatch.setattr("whisper.detect_language", lambda *_: pytest.fail("it was to be told"))
    monkeypatch.setattr(other, "_guessed", lambda waves: iter([pytest.fail("it was to be told")] if waves else []))
    for model in (Whisper(tiny), other):
        assert model(NOISE[:1], [code])[0].language == answer


def test_language_that_whisper_calls_otherwise_is_told_by_it_as_here(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whisper.detect_language", lambda *_: (None, [{"jw": 0.9, "en": 0.1}]))
    network = Whisper(tiny)
    assert network.languages(NOISE[:1])[0].language == "jv"
    assert network(NOISE[:1], [None])[0].language == "jv"


def test_whisper_in_batches_hears_what_it_hears_alone(tiny: Path) -> None:
    alone = Whisper(tiny, batch=1)([*NOISE, NOISE[0][:0]], ["de", "fr", "de"])
    together = Whisper(tiny, batch=3)([*NOISE, NOISE[0][:0]], ["de", "fr", "de"])
    assert [item.text for item in together] == [item.text for item in alone]
    assert [item.language for item in together] == ["de", "fr", "de"]
    scores = [[item.log_probability for item in heard] for heard in (alone, together)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_long_waveform_is_heard_in_windows(tiny: Path) -> None:
    model = Whisper(tiny, batch=2)
    long = np.concatenate([np.resize(NOISE[0], WINDOW), NOISE[1]])
    parts = model([long[:WINDOW], long[WINDOW:]], ["de", "de"])
    whole = model([long], ["de"])[0]
    assert "".join(whole.text.split()) == "".join("".join(part.text.split()) for part in parts)
    assert whole.no_speech == pytest.approx(max(part.no_speech or 0 for part in parts))


def test_the_layout_of_large_v3_loads(tmp_path: Path) -> None:
    model = Whisper(write_whisper(tmp_path / "v3.pt", mels=128, vocabulary=51866))
    assert model(NOISE[:1], ["yue"])[0].language == "yue", "the hundredth language"
    assert 0 < model.languages(NOISE[:1])[0].probability < 1


def test_whisper_fingerprint_follows_the_weights_and_the_batch(tiny: Path, tmp_path: Path) -> None:
    stored = torch.load(tiny, weights_only=True)
    stored["model_state_dict"]["decoder.ln.bias"][0] += 1
    torch.save(stored, tmp_path / "other.pt")
    assert Whisper(tiny).fingerprint != Whisper(tmp_path / "other.pt").fingerprint
    assert Whisper(tiny).fingerprint != Whisper(tiny, batch=4).fingerprint


def test_a_missing_or_wrong_whisper_checkpoint_is_a_sentence(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no Whisper checkpoint at .*large-v3\.pt; put an official checkpoint"):
        recognizer(tmp_path / "large-v3.pt")
    with pytest.raises(WeightsError, match=r"checkpoints\.whisper"):
        recognizer(None)
    stored = torch.load(tiny, weights_only=True)
    del stored["model_state_dict"]["decoder.ln.bias"]
    torch.save(stored, tmp_path / "half.pt")
    torch.save({"dims": tmp_path}, tmp_path / "pickled.pt")
    for name in ("half.pt", "pickled.pt"):
        with pytest.raises(WeightsError, match="is no official Whisper checkpoint"):
            recognizer(tmp_path / name)(NOISE[:1], ["en"])


def test_the_converted_whisper_hears_one_text_a_waveform_alone_or_in_batches(converted: Path) -> None:
    heard = FasterWhisper(converted)(NOISE, ["de", None])
    assert [bool(item.text) for item in heard] == [True, True]
    assert heard[0].language == "de"
    assert heard[1].language == FasterWhisper(converted).languages(NOISE)[1].language
    assert all(item.log_probability is not None and item.log_probability < 0 for item in heard)
    assert all(item.no_speech is not None and 0 <= item.no_speech <= 1 for item in heard)
    together = FasterWhisper(converted, batch=2)(NOISE[::-1], [None, "de"])[::-1]
    assert [(item.text, item.language) for item in together] == [(item.text, item.language) for item in heard]


def test_a_missing_or_wrong_converted_folder_is_a_sentence(converted: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no CTranslate2 Whisper folder at .*gone; put a converted folder"):
        faster.recognizer(tmp_path / "gone")
    with pytest.raises(WeightsError, match=r"checkpoints\.faster_whisper"):
        faster.recognizer(None)
    with pytest.raises(WeightsError, match=r"lacks model\.bin, config\.json, tokenizer\.json"):
        faster.recognizer(tmp_path)
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        (tmp_path / name).write_bytes((converted / name).read_bytes())
    (tmp_path / "model.bin").write_bytes((converted / "model.bin").read_bytes()[:9000])
    with pytest.raises(WeightsError, match="is no converted Whisper"):
        faster.recognizer(tmp_path)(NOISE[:1], ["en"])


def test_a_conversion_that_lost_its_languages_is_refused(converted: Path, tmp_path: Path) -> None:
    import json

    for file in converted.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((converted / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "lang_ids": []}))
    with pytest.raises(WeightsError, match=r"has no lang_ids in its config\.json"):
        FasterWhisper(tmp_path)(NOISE[:1], ["en"])
    with pytest.raises(WeightsError, match=r"has no lang_ids in its config\.json"):
        FasterWhisper(tmp_path).languages(NOISE[:1])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("preprocessor_config.json", '{"feature_size": 128}', "hears 80 mel bands, .* makes 128"),
        ("tokenizer.json", "version https://git-lfs", r"tokenizer\.json is no JSON"),
        ("tokenizer.json", "{}", r"tokenizer\.json holds no tokenizer"),
        ("config.json", "{", r"config\.json is no JSON"),
    ],
)
def test_a_broken_file_of_a_conversion_is_a_sentence(
    converted: Path, tmp_path: Path, name: str, content: str, said: str
) -> None:
    for file in converted.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_text(content)
    with pytest.raises(WeightsError, match=said):
        FasterWhisper(tmp_path)(NOISE[:1], ["en"])


def test_a_network_that_does_not_know_cantonese_says_what_it_hears(tiny: Path, tmp_path: Path) -> None:
    model = Whisper(tiny)
    assert model(NOISE[:1], ["yue"])[0] == model(NOISE[:1], [None])[0]
    english = Whisper(write_whisper(tmp_path / "tiny.en.pt", vocabulary=51864))
    assert english(NOISE[:1], ["de"])[0].language == "en"
    with pytest.raises(WeightsError, match="is for English only, and tells no language"):
        english.languages(NOISE[:1])


def test_two_windows_are_joined_as_whisper_joins_them(tiny: Path, converted: Path) -> None:
    import whisper

    long = np.resize(NOISE[0], 2 * WINDOW)
    long[WINDOW:] *= np.float32(0.3)
    options = {"temperature": 0.0, "condition_on_previous_text": False, "without_timestamps": True, "language": "zh"}
    ours, other = Whisper(tiny), FasterWhisper(converted)
    theirs = whisper.transcribe(ours._network, long, fp16=False, no_speech_threshold=None, **options)
    assert ours([long], ["zh"])[0].text == theirs["text"].strip()
    said, _ = other._model.transcribe(
        long, beam_size=1, no_speech_threshold=None, log_prob_threshold=None, compression_ratio_threshold=None,
        **options,
    )  # fmt: skip
    assert other([long], ["zh"])[0].text == "".join(part.text for part in said).strip()
