"""Speech: seeds decide it, the stop head or the maximum ends it, streams equal it, and bad requests are sentences."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from models.backbone.config import SamplingConfig
from models.runtime.bundle import Bundle, BundleError
from models.runtime.generate import Draws, Speech, generate
from models.runtime.long import generate_long
from models.runtime.prompt import RequestError, prompt_wave
from models.runtime.request import longest_seconds
from models.runtime.session import Session
from models.runtime.stream import generate_stream
from tests.models.runtime.voices import voice
from tests.small import CONFIG, small_bundle

PATCH = 7680


def bundle_that_stops_at(probability: float) -> Bundle:
    """A bundle whose stop head says the same of every hidden state."""
    bundle = small_bundle()
    assert bundle.backbone is not None
    with torch.no_grad():
        head = bundle.backbone.eos_proj[2]
        head.weight.zero_()
        head.bias.copy_(torch.tensor([1 - probability, probability]).log())
    return bundle


def assert_equal(first: Speech, second: Speech) -> None:
    assert torch.equal(first.wave_S, second.wave_S)


def test_seed_decides_the_samples_whatever_was_called_before(small: Bundle) -> None:
    first = generate(small, "hello", prompt_audio=voice(), prompt_text="ha", seed=3, max_patches=3, stop_threshold=1)
    torch.manual_seed(99)
    random.seed(99)
    torch.rand(17)
    generate(small, "something else", seed=8, max_patches=2)
    again = generate(small, "hello", prompt_audio=voice(), prompt_text="ha", seed=3, max_patches=3, stop_threshold=1)
    other = generate(small, "hello", prompt_audio=voice(), prompt_text="ha", seed=4, max_patches=3, stop_threshold=1)
    assert_equal(first, again)
    assert not torch.equal(first.wave_S, other.wave_S)


def test_global_randomness_is_neither_read_nor_moved(small: Bundle) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    generate(small, "hello", prompt_audio=voice(11.0), max_patches=1)
    assert torch.rand(1) == expected


def test_long_prompt_is_cropped_for_its_voice_by_the_seed(small: Bundle) -> None:
    noise = (np.random.default_rng(0).standard_normal(12 * 16000) * np.linspace(0.1, 0.3, 12 * 16000)).astype("f4")
    first, again, other = (
        generate(small, "a", prompt_audio=(noise, 16000), seed=seed, max_patches=1) for seed in (1, 1, 2)
    )
    assert_equal(first, again)
    assert not torch.equal(first.latent_FD, other.latent_FD)


@pytest.mark.parametrize("prompt", ["none", "xvector", "continuation"])
def test_streamed_audio_equals_offline_audio(small: Bundle, prompt: str) -> None:
    options = {"seed": 1, "max_patches": 5, "stop_threshold": 1.0, "num_steps": 3}
    if prompt != "none":
        options["prompt_audio"] = voice()
    if prompt == "continuation":
        options["prompt_text"] = "ha"
    offline = generate(small, "hello there", **options)  # type: ignore[arg-type]
    chunks = list(generate_stream(small, "hello there", **options))  # type: ignore[arg-type]
    assert [len(chunk.wave_S) for chunk in chunks] == [PATCH // 2, *[PATCH] * 4, PATCH // 2]
    torch.testing.assert_close(torch.cat([c.wave_S for c in chunks]), offline.wave_S, atol=1e-5, rtol=0)
    assert [chunk.finish_reason for chunk in chunks] == [None] * 5 + ["length"]


def test_stop_head_ends_speech_after_the_patch_it_announced() -> None:
    speech = generate(bundle_that_stops_at(0.9), "hello", max_patches=6)
    assert (speech.finish_reason, speech.patches) == ("stop", 1)
    assert len(speech.wave_S) == PATCH
    assert speech.stop_probabilities[0] == pytest.approx(0.9)


def test_maximum_cuts_speech_that_does_not_stop() -> None:
    speech = generate(bundle_that_stops_at(0.5), "hello", max_patches=3)
    assert (speech.finish_reason, speech.patches) == ("length", 3)
    assert speech.seconds == pytest.approx(0.48)


def test_stop_on_the_last_allowed_patch_is_a_stop() -> None:
    assert generate(bundle_that_stops_at(0.9), "hello", max_patches=1).finish_reason == "stop"


def test_stop_threshold_is_strict_and_decides() -> None:
    bundle = bundle_that_stops_at(0.5)
    assert generate(bundle, "hello", max_patches=2, stop_threshold=0.49).finish_reason == "stop"
    assert generate(bundle, "hello", max_patches=2, stop_threshold=0.51).finish_reason == "length"


def test_stop_head_is_not_asked_about_the_end_of_the_prompt() -> None:
    options = {"prompt_audio": voice(), "prompt_text": "ha", "max_patches": 4}
    speech = generate(bundle_that_stops_at(0.9), "hello", **options)  # type: ignore[arg-type]
    assert (speech.finish_reason, speech.patches) == ("stop", 1)


def test_guidance_zero_is_the_conditional_branch_alone(small: Bundle) -> None:
    assert small.backbone is not None
    head, rows = small.backbone.velocity_field_predictor, []
    handle = head.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    try:
        options = {"num_steps": 2, "max_patches": 2, "stop_threshold": 1.0, "prompt_audio": voice(), "seed": 2}
        plain = generate(small, "hello", guidance_scale=0.0, **options)  # type: ignore[arg-type]
        assert rows == [1] * 4, "one row a step: the unconditional branch costs nothing"
        rows.clear()
        tiny = generate(small, "hello", guidance_scale=1e-7, **options)  # type: ignore[arg-type]
        assert rows == [2] * 4
    finally:
        handle.remove()
    torch.testing.assert_close(plain.latent_FD, tiny.latent_FD, atol=1e-4, rtol=0)
    strong = generate(small, "hello", guidance_scale=2.0, **options)  # type: ignore[arg-type]
    assert not torch.allclose(plain.latent_FD, strong.latent_FD, atol=1e-3)


def test_prompt_and_its_text_and_the_speaker_scale_change_the_speech(small: Bundle) -> None:
    options = {"seed": 1, "max_patches": 2, "stop_threshold": 1.0}
    variants = [
        generate(small, "hello", **options),  # type: ignore[arg-type]
        generate(small, "hello", prompt_audio=voice(), **options),  # type: ignore[arg-type]
        generate(small, "hello", prompt_audio=voice(), speaker_scale=0.5, **options),  # type: ignore[arg-type]
        generate(small, "hello", language="EN", **options),  # type: ignore[arg-type]
    ]
    for number, one in enumerate(variants):
        for other in variants[number + 1 :]:
            assert not torch.equal(one.wave_S, other.wave_S)


def test_prompt_shorter_than_a_patch_can_be_continued(small: Bundle) -> None:
    speech = generate(small, "hello", prompt_audio=voice(0.14), prompt_text="h", max_patches=1)
    assert speech.patches == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("A.", 1.6), ("\u4f60\u597d\u3002", 2.0), ("3", 2.0), ("Hello!", 3.2), ("Hello you", None), ("123456", None)],
)
def test_very_short_texts_have_a_longest_speech(text: str, seconds: float | None) -> None:
    assert longest_seconds(text) == (None if seconds is None else pytest.approx(seconds))


def test_very_short_text_is_cut_and_says_so_unless_the_guard_is_off(small: Bundle) -> None:
    options = {"max_patches": 20, "stop_threshold": 1.0, "num_steps": 1}
    guarded = generate(small, "A.", **options)  # type: ignore[arg-type]
    assert (guarded.patches, guarded.finish_reason) == (10, "length")
    assert generate(small, "A.", stop_guard=False, **options).patches == 20  # type: ignore[arg-type]


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


def test_speech_goes_on_beyond_the_positions_of_the_llm_but_does_not_begin_there() -> None:
    options: dict[str, Any] = {"max_patches": 12, "stop_threshold": 1.0, "num_steps": 2}
    few, many = (small_bundle(llm={"max_position_embeddings": positions}) for positions in (40, 512))
    assert_equal(generate(few, "hello", **options), generate(many, "hello", **options))
    with pytest.raises(RequestError, match="come to .* positions, and this model has 40; split the text"):
        generate(few, "hello, here is a text of more than twenty", **options)
    with pytest.raises(RequestError, match="this model has 40"):
        generate(few, "hello", prompt_audio=voice(3.0), prompt_text="ha", **options)


def test_numbers_of_numpy_and_an_empty_prompt_text_are_taken(small: Bundle) -> None:
    given: dict[str, Any] = {"seed": np.int64(3), "num_steps": np.int32(2), "guidance_scale": np.float32(1.5)}
    found = generate(small, "hello", prompt_text="", max_patches=1, **given)
    assert_equal(found, generate(small, "hello", seed=3, num_steps=2, guidance_scale=1.5, max_patches=1))


def test_file_that_is_not_sound_is_a_sentence(small: Bundle, tmp_path: Path) -> None:
    (tmp_path / "note.wav").write_text("not sound")
    with pytest.raises(RequestError, match="cannot be read as sound"):
        generate(small, "hello", prompt_audio=tmp_path / "note.wav", max_patches=1)


def test_stream_of_a_bad_request_fails_before_its_first_chunk(small: Bundle) -> None:
    with pytest.raises(RequestError):
        generate_stream(small, "hello", num_steps=0)


@pytest.mark.parametrize(("frames", "rate_hz"), [(2, 48000), (6, 24000)])
def test_other_patch_sizes_and_rates_speak_and_stream_alike(frames: int, rate_hz: int) -> None:
    vocoder = {**CONFIG["vocoder"], "sample_rate": rate_hz}
    bundle = small_bundle(patch_size=frames, vocoder=vocoder)
    options = {"prompt_audio": voice(0.5), "prompt_text": "ha", "max_patches": 4, "stop_threshold": 1.0, "num_steps": 2}
    speech = generate(bundle, "hello", **options)  # type: ignore[arg-type]
    assert (speech.rate_hz, len(speech.wave_S)) == (rate_hz, 4 * frames * 1920)
    chunks = [chunk.wave_S for chunk in generate_stream(bundle, "hello", **options)]  # type: ignore[arg-type]
    assert all(len(chunk) for chunk in chunks)
    torch.testing.assert_close(torch.cat(chunks), speech.wave_S, atol=1e-5, rtol=0)


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


def test_latents_that_are_not_finite_are_a_sentence_offline_and_in_a_session() -> None:
    bundle = small_bundle()
    assert bundle.latent_mean_D is not None
    bundle.latent_mean_D[0] = float("nan")
    with pytest.raises(RequestError, match="latents that are not numbers"):
        generate(bundle, "hello", max_patches=1, num_steps=1)
    session = Session(bundle, num_steps=1, max_patches=2)
    with pytest.raises(RequestError, match="latents that are not numbers"):
        list(session.push("hello you all. "))


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


def test_start_of_a_long_prompts_crop_is_drawn_first_and_counts_samples(small: Bundle) -> None:
    """The official order: where the voice is cropped, then the prompt's latents, then a patch at a time."""
    noise = np.random.default_rng(0).standard_normal(11 * 48000).astype("f4") * np.linspace(0.1, 0.3, 11 * 48000)
    options = {"prompt_audio": (noise.astype("f4"), 48000), "max_patches": 1}
    patch = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(0))
    first, same, other = (
        generate(small, "a", draws=Draws(recorded=[torch.tensor(start), patch]), **options)  # type: ignore[arg-type]
        for start in (0, 0, 48000)
    )
    assert_equal(first, same)
    assert not torch.equal(first.latent_FD, other.latent_FD)
