"""What was heard of a recording is remembered by its content, for so many of them, and never when it is stale."""

import copy
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from models.runtime.bundle import Bundle
from models.runtime.generate import Speech, generate
from models.runtime.prompt import Sound
from tests.models.runtime.voices import voice
from tests.small import small_bundle


class Listening:
    """How often the networks of a bundle listened."""

    def __init__(self, bundle: Bundle) -> None:
        self.encoded = self.embedded = 0
        bundle.audiovae.audio_encoder.register_forward_hook(self.encode)
        bundle.speaker.model.register_forward_hook(self.embed)

    def encode(self, *_: object) -> None:
        self.encoded += 1

    def embed(self, *_: object) -> None:
        self.embedded += 1

    @property
    def times(self) -> tuple[int, int]:
        return self.encoded, self.embedded


def say(bundle: Bundle, sound: Sound, *, text: str | None = "ha", seed: int = 0) -> Speech:
    return generate(bundle, "hello", prompt_audio=sound, prompt_text=text, seed=seed, max_patches=1, num_steps=1)


@pytest.fixture
def bundle() -> Bundle:
    return small_bundle()


def test_same_content_is_heard_once_whatever_its_name(bundle: Bundle, tmp_path: Path) -> None:
    listening, (wave_S, rate_hz) = Listening(bundle), voice()
    first = say(bundle, (wave_S, rate_hz))
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, wave_S, rate_hz, subtype="FLOAT")
        assert torch.equal(say(bundle, tmp_path / name).wave_S, first.wave_S)
    assert listening.times == (1, 1)
    assert torch.equal(say(small_bundle(), (wave_S, rate_hz)).wave_S, first.wave_S)


def test_changed_file_is_heard_anew(bundle: Bundle, tmp_path: Path) -> None:
    listening, path = Listening(bundle), tmp_path / "voice.wav"
    for pitch_hz in (150.0, 250.0):
        wave_S, rate_hz = voice(pitch_hz=pitch_hz)
        soundfile.write(path, wave_S, rate_hz)
        say(bundle, path)
    assert listening.times == (2, 2)


def test_latents_are_encoded_when_the_text_comes_and_drawn_by_every_seed(bundle: Bundle) -> None:
    listening = Listening(bundle)
    say(bundle, voice(), text=None)
    assert listening.times == (0, 1)
    one, other = (say(bundle, voice(), seed=seed) for seed in (1, 2))
    assert listening.times == (1, 1)
    assert not torch.equal(one.latent_FD, other.latent_FD)


def test_voice_of_a_long_recording_is_cropped_by_every_request(bundle: Bundle) -> None:
    listening = Listening(bundle)
    for seed in (1, 2):
        say(bundle, voice(10.5), seed=seed)
    assert listening.times == (1, 2)


def test_only_so_many_recordings_are_remembered_the_latest_used(bundle: Bundle) -> None:
    bundle.prompts.most = 2
    listening = Listening(bundle)
    for pitch_hz in (100.0, 200.0, 100.0, 300.0, 100.0, 200.0):
        say(bundle, voice(pitch_hz=pitch_hz), text=None)
        assert len(bundle.prompts.heard) <= 2
    assert listening.times == (0, 4)  # 200 Hz was forgotten when 300 Hz came, 100 Hz never


def test_what_was_heard_is_forgotten_when_the_weights_change(bundle: Bundle) -> None:
    before = say(bundle, voice())
    with torch.no_grad():
        for parameter in bundle.audiovae.pre_proj.parameters():
            parameter.mul_(1.5)
    bundle.audiovae.decoder.requires_grad_(False)
    after = say(bundle, voice())
    assert not torch.equal(before.latent_FD, after.latent_FD)
    assert len(bundle.prompts.heard) == 1


def test_copied_bundle_has_heard_nothing_and_says_the_same(bundle: Bundle) -> None:
    before = say(bundle, voice())
    twin = copy.deepcopy(bundle)
    assert len(twin.prompts.heard) == 0
    listening = Listening(twin)
    assert torch.equal(say(twin, voice()).wave_S, before.wave_S)
    assert listening.times == (1, 1)


def test_silence_at_the_edges_is_not_part_of_the_content(bundle: Bundle) -> None:
    listening, (wave_S, rate_hz) = Listening(bundle), voice()
    assert isinstance(wave_S, np.ndarray)
    padded_S = np.concatenate([np.zeros(512 * 20, np.float32), wave_S])
    say(bundle, (padded_S, rate_hz), text=None)
    say(bundle, (np.concatenate([np.zeros(512 * 4, np.float32), padded_S]), rate_hz), text=None)
    assert listening.times == (0, 1)
