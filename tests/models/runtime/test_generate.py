"""Speech: seeds decide it, the stop head or the maximum ends it, streams equal it, and bad requests are sentences."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from models.runtime.bundle import Bundle
from models.runtime.generate import Draws, Speech, generate
from models.runtime.prompt import RequestError
from models.runtime.request import longest_seconds
from models.runtime.session import Session
from models.runtime.stream import generate_stream
from tests.models.runtime.voices import voice
from tests.small import CONFIG, bundle_that_stops_at, small_bundle

PATCH = 7680


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


def test_speech_goes_on_beyond_the_positions_of_the_llm_but_does_not_begin_there() -> None:
    options: dict[str, Any] = {"max_patches": 12, "stop_threshold": 1.0, "num_steps": 2}
    few, many = (small_bundle(llm={"max_position_embeddings": positions}) for positions in (40, 512))
    assert_equal(generate(few, "hello", **options), generate(many, "hello", **options))
    with pytest.raises(RequestError, match="come to .* positions, and this model has 40; split the text"):
        generate(few, "hello, here is a text of more than twenty", **options)
    with pytest.raises(RequestError, match="this model has 40"):
        generate(few, "hello", prompt_audio=voice(3.0), prompt_text="ha", **options)


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


def test_latents_that_are_not_finite_are_a_sentence_offline_and_in_a_session() -> None:
    bundle = small_bundle()
    assert bundle.latent_mean_D is not None
    bundle.latent_mean_D[0] = float("nan")
    with pytest.raises(RequestError, match="latents that are not numbers"):
        generate(bundle, "hello", max_patches=1, num_steps=1)
    session = Session(bundle, num_steps=1, max_patches=2)
    with pytest.raises(RequestError, match="latents that are not numbers"):
        list(session.push("hello you all. "))


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
