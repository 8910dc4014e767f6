"""The recognizers that come in wheels: English, offline, the same text in any order, as good as they were measured."""

from pathlib import Path

import numpy as np
import pytest
import soxr

from models.frozen import Wave
from models.frozen.espeak import Espeak, Utterance
from models.frozen.moonshine import SHORTEST, WINDOW, Moonshine, once, tokens_of
from models.frozen.pocketsphinx import PocketSphinx
from pipelines.hearing.consistency import character_error_rate
from tests.pipelines import quality_of_words as quality

SENTENCE = "Sunday is the best part of the week."


@pytest.fixture(scope="module")
def speech() -> Wave:
    """One synthetic sentence at 16 kHz, about 2 s."""
    spoken = Espeak()([Utterance(text=SENTENCE, voice="en-us+m3")])[0]
    return np.asarray(soxr.resample(spoken, Espeak.RATE_HZ, 16000), dtype=np.float32)


def test_moonshine_writes_punctuated_sentences_whatever_came_before(speech: Wave) -> None:
    model = Moonshine()
    there = model([speech, speech[:16000], np.zeros(16000, dtype=np.float32), speech[: SHORTEST - 1]])
    assert character_error_rate(there[0].text, given=SENTENCE) < 0.2
    assert there[0].text[0].isupper()
    assert there[0].text[-1] == "."
    assert there[0].log_probability is not None
    assert -1 < there[0].log_probability < 0
    assert [item.text for item in there[2:]] == ["", ""], "nothing to hear"
    assert model([speech[:16000], speech])[::-1] == there[:2]


def test_moonshine_hears_what_is_longer_than_its_window_in_parts(speech: Wave) -> None:
    pause = np.zeros(WINDOW - len(speech), dtype=np.float32)
    model = Moonshine()
    alone = model([np.concatenate([speech, pause]), speech])
    long = model([np.concatenate([speech, pause, speech])])[0]
    assert long.text == f"{alone[0].text} {alone[1].text}"


def test_a_text_without_an_end_is_written_once() -> None:
    assert list(once([5, 6, 7, 5, 6, 7, 5])) == [5, 6, 7]
    assert list(once([5, 5, 5])) == [5]
    assert list(once([5, 6, 7, 8, 5])) == [5, 6, 7, 8, 5]
    assert list(once([])) == []


def test_moonshine_hears_the_same_at_any_level(speech: Wave) -> None:
    loud, low = Moonshine()([speech, speech * np.float32(0.03)])
    assert loud.text == low.text


def test_moonshine_stops_a_loop_at_the_pace_of_speech() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, size=32000).astype(np.float32)
    assert len(Moonshine()([noise])[0].text) < 100


def test_tokens_have_their_length_before_them_in_one_byte_or_two() -> None:
    long = b"x" * 300
    assert list(tokens_of(b"\x01a\x00" + bytes([300 % 128 + 128, 300 // 128]) + long)) == [b"a", b"", long]
    assert len(Moonshine()._vocabulary) == 32768


@pytest.mark.shared
def test_moonshine_reads_clean_english_as_measured(shared: Path) -> None:
    clips = [clip for clip in quality.spoken_english(shared / "audio") if clip.kind == "clean"]
    wer, cer = quality.error_rates(clips, Moonshine()([clip.wave for clip in clips]))
    assert len(clips) == 12
    assert wer < 0.03, "measured: 0.016"
    assert cer < 0.015, "measured: 0.004"


@pytest.mark.shared
def test_pocketsphinx_gets_two_thirds_of_the_words_of_clean_read_speech(shared: Path) -> None:
    clips = [clip for clip in quality.spoken_english(shared / "audio") if clip.kind == "clean"]
    short = [clip for clip in clips if len(clip.wave) < 5 * 16000]
    wer, cer = quality.error_rates(short, PocketSphinx()([clip.wave for clip in short]))
    assert len(short) >= 6
    assert wer < 0.342
    assert cer < 0.182
