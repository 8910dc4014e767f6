"""The transform that tells copies: a hash for exact ones, a print for the others."""

import hashlib

import numpy as np

from pipelines.clip import Clip
from pipelines.copies.prints import RATE_HZ, from_text, words_of
from pipelines.transforms.fingerprint import Config, Transform
from tests.pipelines.corpora import segment


def test_hash_is_of_the_samples_at_their_rate_and_the_print_is_that_of_the_sound() -> None:
    wave_S = (np.random.default_rng(0).integers(-9999, 9999, 32000) / 32768).astype(np.float32)
    clip = Clip(segment(0, samples=32000), wave_S)
    (told,) = Transform(Config())([clip])
    assert isinstance(told, Clip)
    samples = (wave_S * 32768).astype("<i2").tobytes()
    assert told.segment.pcm_sha256 == hashlib.sha256(b"16000:" + samples).hexdigest()
    assert np.array_equal(from_text(told.segment.audio_print or ""), words_of(clip.at(RATE_HZ)))
    assert len(from_text(told.segment.audio_print or "")) == (16000 - 2048) // 256 + 1 - 8


def test_short_clip_has_an_empty_print() -> None:
    (told,) = Transform(Config())([Clip(segment(0), np.zeros(800, np.float32))])
    assert isinstance(told, Clip)
    assert told.segment.audio_print == ""
