"""What may be asked for: a mistake in a request is a sentence before anything is computed, and sounds of any kind."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from models.backbone.config import SamplingConfig
from models.runtime.bundle import Bundle, BundleError
from models.runtime.generate import Draws, generate
from models.runtime.long import generate_long
from models.runtime.prompt import RequestError, prompt_wave
from models.runtime.request import Request
from models.runtime.session import Session
from models.runtime.stream import generate_stream
from tests.models.runtime.voices import voice
from tests.small import small_bundle

BAD_REQUESTS = {
    "no text": ({"text": "  "}, "no text to speak"),
    "text without sound": ({"prompt_text": "hm"}, "without the prompt audio"),
    "no patches": ({"max_patches": 0}, "at least one"),
    "no steps": ({"num_steps": 0}, "at least one step"),
    "strange method": ({"method": "heun"}, "unknown ODE method 'heun'"),
    "negative guidance": ({"guidance_scale": -1.0}, "at least 0"),
    "seed": ({"seed": 10**30}, "the seed is 1000"),
    "threshold": ({"stop_threshold": 8.0}, "is a probability, but is 8.0"),
    "scale": ({"speaker_scale": float("nan")}, "must be a number"),
    "language": ({"language": "no such language!"}, "not a language"),
    "length": ({"text": "word " * 200}, "this model has 512; split the text"),
    "no file": ({"prompt_audio": "nowhere.wav"}, "no prompt audio at nowhere.wav"),
    "silence": ({"prompt_audio": (np.zeros(16000, np.float32), 16000)}, "silent"),
    "nothing": ({"prompt_audio": (np.zeros(0, np.float32), 16000)}, "silent"),
    "too short": ({"prompt_audio": (np.ones(800, np.float32), 16000)}, "only 0.05 s of sound"),
    "too long": ({"prompt_audio": (np.ones(61 * 8000, np.float32), 8000)}, "has 61 s, and a prompt at most 60"),
    "strange rate": ({"prompt_audio": (np.ones(800, np.float32), 100)}, "a rate of 100 Hz"),
    "strange shape": ({"prompt_audio": (np.ones((2, 2, 2), np.float32), 16000)}, r"has shape \(2, 2, 2\)"),
    "infinite": ({"prompt_audio": (np.full(9000, np.inf, np.float32), 16000)}, "NaN or infinite"),
    "channels first": (
        {"prompt_audio": (np.full((2, 9000), 0.1, np.float32), 16000)},
        "9000 channels; give channels last",
    ),
    "no channel": ({"prompt_audio": (np.zeros((9000, 0), np.float32), 16000)}, "0 channels"),
    "100,000 characters": ({"text": "a" * 100_000}, "the text has 100000 characters, and at most 4096 are taken"),
    "control character": ({"text": "a\x00b"}, r"the text has the control character U\+0000 at position 1"),
    "half a sign": ({"text": "a\ud800b"}, r"U\+D800, which is half of a surrogate pair, at position 1"),
    "control in prompt": (
        {"prompt_audio": voice(), "prompt_text": "\x1b[0m"},
        r"the prompt text has the control character U\+001B",
    ),
    "unknown mode": ({"mode": "sing"}, "unknown mode 'sing'; there are: continuation, xvector, none"),
    "mode without prompt": ({"mode": "continuation"}, "mode continuation needs prompt audio; give it"),
    "mode without text": (
        {"mode": "continuation", "prompt_audio": voice(), "prompt_text": " "},
        "mode continuation needs prompt text",
    ),
    "mode with a prompt": ({"mode": "none", "prompt_audio": voice()}, "mode none takes no prompt audio; leave it out"),
    "template": ({"template": "song"}, "unknown template 'song'; there are: tts, instruction_tts"),
    "infinite guidance": ({"guidance_scale": float("inf")}, "guidance must be a number"),
    "no seed": ({"seed": None}, "seed must be a whole number, but is None"),
    "seed in quotes": ({"seed": "1"}, "seed must be a whole number, but is '1'"),
    "seed with a fraction": ({"seed": 1.5}, "seed must be a whole number"),
    "flag for a seed": ({"seed": True}, "seed must be a whole number"),
    "steps with a fraction": ({"num_steps": 2.5}, "num_steps must be a whole number"),
    "maximum in quotes": ({"max_patches": "3"}, "max_patches must be a whole number"),
    "text that is none": ({"text": None}, "the text must be a text, but is None"),
    "language that is a number": ({"language": 5}, "language must be a code or name, but is 5"),
    "guidance in quotes": ({"guidance_scale": "1"}, "guidance_scale must be a number"),
    "cancelled that is no function": ({"cancelled": 5}, "cancelled must be a function"),
    "prompt text that is a number": ({"prompt_audio": voice(), "prompt_text": 5}, "the prompt text must be a text"),
    "prompt that is a list": ({"prompt_audio": [0.1]}, "the prompt is a list; give a file"),
    "prompt that is a tuple": ({"prompt_audio": (1, 2, 3)}, "a tuple of 3; give samples and their rate"),
    "rate that is no number": ({"prompt_audio": (np.ones(9000, "f4"), float("nan"))}, "their rate, a whole number"),
    "ragged samples": ({"prompt_audio": ([[0.1], [0.1, 0.2]], 16000)}, "samples are no array"),
    "samples in quotes": ({"prompt_audio": ("ab", 16000)}, "samples of type <U2"),
    "very many steps": ({"num_steps": 200000}, "at most 1000 steps, but num_steps is 200000"),
    "huge guidance": ({"guidance_scale": 1e30}, "at most 100, but is 1e"),
    "huge scale": ({"speaker_scale": -1e30}, "from -1000 to 1000, but is -1e"),
    "huge samples": ({"prompt_audio": (np.full(9000, 1e6, np.float32), 16000)}, "has a peak of 1e.06, and full"),
    "samples that overflow": ({"prompt_audio": (np.full(9000, 1e38, np.float32), 16000)}, "has a peak of 1e.38"),
    "doubles that overflow": ({"prompt_audio": (np.full(9000, 1e300), 16000)}, "NaN or infinite"),
    "samples without a sign": ({"prompt_audio": (np.ones(9000, np.uint8), 16000)}, "samples of type uint8"),
    "not numbers": ({"prompt_audio": (np.full(9000, np.nan, np.float32), 16000)}, "NaN"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_request_is_a_sentence(small: Bundle, name: str) -> None:
    options, words = BAD_REQUESTS[name]
    with pytest.raises(RequestError, match=words):
        generate(small, **{"text": "hello", "max_patches": 1, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["seed in quotes", "maximum in quotes", "text that is none"])
def test_wrong_type_is_a_sentence_of_long_texts_and_sessions_too(small: Bundle, name: str) -> None:
    options, words = BAD_REQUESTS[name]
    with pytest.raises(RequestError, match=words):
        generate_long(small, **{"text": "hello", **options})  # type: ignore[arg-type]
    own = {key: value for key, value in options.items() if key != "text"}
    with pytest.raises(RequestError, match=words):
        Session(small, **{"max_patches": 3, **own}).push(None)  # type: ignore[arg-type]


def test_language_is_checked_without_a_model() -> None:
    with pytest.raises(RequestError, match="'no such language!' is not a language that is known here; give a code"):
        Request(text="hello", language="no such language!")
    assert Request(text="hello", language="auto_detect").language == "auto_detect"


def test_numbers_of_numpy_and_an_empty_prompt_text_are_taken(small: Bundle) -> None:
    given: dict[str, Any] = {"seed": np.int64(3), "num_steps": np.int32(2), "guidance_scale": np.float32(1.5)}
    found = generate(small, "hello", prompt_text="", max_patches=1, **given)
    assert torch.equal(
        found.wave_S, generate(small, "hello", seed=3, num_steps=2, guidance_scale=1.5, max_patches=1).wave_S
    )


def test_file_that_is_not_sound_is_a_sentence(small: Bundle, tmp_path: Path) -> None:
    (tmp_path / "note.wav").write_text("not sound")
    with pytest.raises(RequestError, match="cannot be read as sound"):
        generate(small, "hello", prompt_audio=tmp_path / "note.wav", max_patches=1)


def test_stream_of_a_bad_request_fails_before_its_first_chunk(small: Bundle) -> None:
    with pytest.raises(RequestError):
        generate_stream(small, "hello", num_steps=0)


def test_stereo_file_at_another_rate_is_a_voice(small: Bundle, tmp_path: Path) -> None:
    wave_S, rate_hz = voice(rate_hz=8000)
    assert isinstance(wave_S, np.ndarray)
    soundfile.write(tmp_path / "stereo.flac", np.stack([wave_S, 0.5 * wave_S], axis=1), rate_hz)
    assert generate(small, "hello", prompt_audio=tmp_path / "stereo.flac", max_patches=1).patches == 1


@pytest.mark.parametrize("dtype", ["int16", "int32"])
def test_samples_that_are_whole_numbers_are_those_of_a_file_of_them(tmp_path: Path, dtype: str) -> None:
    wave_S, rate_hz = voice()
    whole_S = np.round(np.asarray(wave_S, np.float64) * np.iinfo(dtype).max).astype(dtype)
    soundfile.write(tmp_path / "voice.wav", whole_S, rate_hz, subtype=f"PCM_{dtype[3:]}")
    assert torch.equal(prompt_wave((whole_S, rate_hz)), prompt_wave(tmp_path / "voice.wav"))


def test_bundle_without_a_backbone_says_which_stage_it_needs() -> None:
    with pytest.raises(BundleError, match="no backbone yet.*backbone stage"):
        generate(small_bundle(backbone=False), "hello")


def test_guidance_on_a_distilled_model_is_a_sentence() -> None:
    bundle = small_bundle(meanflow={"enabled": True})
    assert generate(bundle, "hello", num_steps=2, max_patches=1).patches == 1
    with pytest.raises(RequestError, match="guidance distilled in"):
        generate(bundle, "hello", guidance_scale=1.2)


@pytest.mark.parametrize("solver", ["flow_matching", "scm"])
def test_fixed_step_artifact_keeps_its_contract(solver: str) -> None:
    steps = {"flow_matching": 1, "scm": 2}[solver]
    sampling = SamplingConfig(solver=solver, num_steps=steps)  # type: ignore[arg-type]
    bundle = small_bundle(sampling=dataclasses.asdict(sampling))
    assert generate(bundle, "hello", num_steps=steps, max_patches=2).patches >= 1
    with pytest.raises(RequestError, match=f"num_steps 4 was asked for, but this model locks it to {steps}"):
        generate(bundle, "hello", num_steps=4)


def test_recorded_draws_that_do_not_fit_are_a_sentence(small: Bundle) -> None:
    with pytest.raises(RequestError, match=r"\[1, 4, 8\] is needed, and there is \[1, 4, 9\]"):
        generate(small, "hello", draws=Draws(recorded=[torch.zeros(1, 4, 9)]), max_patches=1)
    with pytest.raises(RequestError, match="there is nothing more"):
        generate(small, "hello", draws=Draws(recorded=[]), max_patches=1)
