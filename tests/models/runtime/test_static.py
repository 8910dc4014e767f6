"""Speech in static buffers, as a GPU's graphs have it, is ordinary speech: here the same steps run as they are."""

from typing import Any

import pytest
import torch

from models.runtime import slots
from models.runtime.bundle import Bundle, BundleError
from models.runtime.generate import generate, generate_batch
from models.runtime.precision import place
from models.runtime.request import Request
from models.runtime.session import Session
from models.runtime.slot_pool import SlotPool
from models.runtime.speaking import speaking_parts
from models.runtime.stream import generate_stream
from tests.models.runtime.test_batch import REQUESTS, requests
from tests.models.runtime.voices import voice
from tests.small import small_bundle

MODES: dict[str, dict[str, Any]] = {
    "guided": {"num_steps": 3},
    "not guided": {"guidance_scale": 0.0, "num_steps": 2},
    "midpoint": {"num_steps": 2, "method": "midpoint", "guidance_scale": 2.0},
    "continued": {"prompt_audio": voice(0.7), "prompt_text": "ha ha", "num_steps": 2},
    "imitated": {"prompt_audio": voice(0.5), "num_steps": 2, "speaker_scale": 0.7},
    "interleaved": {"template": "tts_interleave", "num_steps": 2},
    "interleaved, continued": {
        "template": "tts_interleave",
        "prompt_audio": voice(1.1),
        "prompt_text": "ho",
        "num_steps": 2,
    },
}
MODELS: dict[str, dict[str, Any]] = {
    "meanflow": {"meanflow": {"enabled": True, "use_duration_embedding": True}},
    "scm": {
        "meanflow": {"enabled": True, "use_duration_embedding": True},
        "sampling": {"solver": "scm", "num_steps": 2, "tau_mid": 1.2},
    },
}


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes so small that a generation outgrows them, and steps that read few tokens."""
    monkeypatch.setattr(slots, "SMALLEST_PATCHES", 2)
    monkeypatch.setattr(slots, "SMALLEST_POSITIONS", 16)


def static(bundle: Bundle) -> Bundle:
    return place(bundle, graphs=True)


def assert_same(bundle: Bundle, text: str, **options: Any) -> None:
    options = {"seed": 3, "max_patches": 7, "stop_threshold": 1.0, **options}
    ordinary, fixed = generate(bundle, text, **options), generate(static(bundle), text, **options)
    assert fixed.patches == ordinary.patches
    torch.testing.assert_close(fixed.latent_FD, ordinary.latent_FD, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        torch.tensor(fixed.stop_probabilities), torch.tensor(ordinary.stop_probabilities), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("mode", MODES)
def test_static_speech_is_ordinary_speech_while_it_outgrows_its_slots(mode: str, small: Bundle, narrow: None) -> None:
    assert_same(small, "hello there, you of many words", **MODES[mode])


@pytest.mark.parametrize("model", MODELS)
def test_static_speech_of_distilled_models_is_ordinary_speech(model: str) -> None:
    bundle = small_bundle(**MODELS[model])
    assert_same(bundle, "hello there", **({"num_steps": 4} if model == "meanflow" else {}))


def test_static_speech_of_another_activation_is_ordinary_speech() -> None:
    bundle = small_bundle(llm={"hidden_act": "gelu", "initializer_range": 0.5})
    assert_same(bundle, "hello there", num_steps=1)


def test_static_batch_equals_one_at_a_time_while_requests_end_and_slots_are_changed(
    small: Bundle, narrow: None
) -> None:
    asked = [
        Request(**{"stop_threshold": 1.0, "num_steps": 2, **one, "max_patches": 2 + n})
        for n, one in enumerate(REQUESTS * 2)
    ]
    fixed = static(small)
    for one, together in zip(asked, generate_batch(fixed, asked), strict=True):
        alone = generate_batch(small, [one])[0]
        assert (together.patches, together.finish_reason) == (alone.patches, alone.finish_reason)
        torch.testing.assert_close(together.latent_FD, alone.latent_FD, atol=1e-5, rtol=0)
    assert fixed.slots is not None
    assert fixed.slots.lent_bytes == 0


def test_requests_that_come_later_find_a_place_beside_those_under_way(small: Bundle) -> None:
    from models.runtime.batch import Batch, Step

    asked = requests()[:5]
    batch, made, waiting = Batch(static(small)), dict[int, list[Step]](), iter(requests()[:5])
    while (one := next(waiting, None)) is not None or batch.busy:
        if one is not None:
            batch.add(one)
        for number, step in batch.step().items():
            made.setdefault(number, []).append(step)
    for number, request in enumerate(asked):
        latent_FD = torch.cat([step.latent_KD for step in made[number]])
        torch.testing.assert_close(latent_FD, generate_batch(small, [request])[0].latent_FD, atol=1e-5, rtol=0)


@pytest.mark.parametrize("prompt", ["none", "continued"])
def test_static_session_is_an_ordinary_session(small: Bundle, prompt: str, narrow: None) -> None:
    said = []
    for bundle in (small, static(small)):
        own = {} if prompt == "none" else {"prompt_audio": voice(0.7), "prompt_text": "ha ha"}
        session = Session(bundle, num_steps=2, stop_threshold=1.0, max_patches=12, **own)
        chunks = [chunk for part in ("Well, wh", "o is", " it?") for chunk in session.push(part)]
        said.append(torch.cat([chunk.wave_S for chunk in [*chunks, *session.finish()]]))
    assert len(said[0]) == 12 * 7680
    torch.testing.assert_close(said[1], said[0], atol=1e-5, rtol=0)


def test_stream_of_patches_that_are_all_lookahead_is_an_ordinary_stream() -> None:
    bundle, options = small_bundle(patch_size=2), {"num_steps": 1, "max_patches": 3, "stop_threshold": 1.0}
    sizes, waves = [], []
    for one in (bundle, static(bundle)):
        chunks = [chunk.wave_S for chunk in generate_stream(one, "one", **options)]
        sizes.append([len(wave_S) for wave_S in chunks])
        waves.append(torch.cat(chunks))
    assert sizes == [[3840, 3840, 3840]] * 2
    torch.testing.assert_close(waves[1], waves[0], atol=1e-5, rtol=0)


def test_streams_that_take_turns_keep_their_own_sound(small: Bundle) -> None:
    fixed, options = static(small), {"num_steps": 1, "max_patches": 3, "stop_threshold": 1.0}
    streams = [generate_stream(fixed, text, seed=seed, **options) for seed, text in enumerate(["one", "two"])]
    heard: list[list[torch.Tensor]] = [[], []]
    for pair in zip(*streams, strict=True):
        for number, chunk in enumerate(pair):
            heard[number].append(chunk.wave_S)
    for seed, text in enumerate(["one", "two"]):
        alone = generate(small, text, seed=seed, **options).wave_S
        torch.testing.assert_close(torch.cat(heard[seed]), alone, atol=1e-5, rtol=0)


def test_second_request_finds_the_slots_of_the_first_and_other_weights_make_new_ones() -> None:
    bundle = static(small_bundle())
    options: dict[str, Any] = {"num_steps": 1, "max_patches": 2, "stop_threshold": 1.0}
    assert bundle.slots is not None
    first = generate(bundle, "one", seed=1, **options)
    kept = list(bundle.slots.free)
    assert len(kept) == 1
    generate(bundle, "another one", seed=2, **options)
    assert bundle.slots.free == kept
    assert torch.equal(generate(bundle, "one", seed=1, **options).latent_FD, first.latent_FD)
    assert bundle.backbone is not None
    with torch.no_grad():
        bundle.backbone.hidden_proj.weight.mul_(1.5)
    changed = generate(bundle, "one", seed=1, **options)
    assert bundle.slots.free != kept
    ordinary = generate(place(bundle), "one", seed=1, **options)
    torch.testing.assert_close(changed.latent_FD, ordinary.latent_FD, atol=1e-5, rtol=0)


def test_slots_are_emptied_when_they_are_lent_and_giving_them_back_writes_to_no_device() -> None:
    bundle = static(small_bundle())
    assert bundle.slots is not None
    generate(bundle, "one", num_steps=1, max_patches=2, stop_threshold=1.0)
    (slots,) = bundle.slots.free
    own = [slots.active_R, *(history.length_R for history in slots.histories)]
    assert all(bool(tensor.any()) for tensor in own)
    found = bundle.slots.lend(speaking_parts(bundle), slots.sampler, slots.size)
    assert found is slots
    assert not any(bool(tensor.any()) for tensor in own)
    written = [tensor._version for tensor in own]
    bundle.slots.give_back(slots)
    assert [tensor._version for tensor in own] == written


def test_who_finds_no_room_speaks_in_the_ordinary_way(small: Bundle) -> None:
    bundle = static(small)
    bundle.slots = SlotPool(most_bytes=1000)
    options: dict[str, Any] = {"num_steps": 1, "max_patches": 2, "stop_threshold": 1.0}
    assert torch.equal(generate(bundle, "one", **options).latent_FD, generate(small, "one", **options).latent_FD)
    assert bundle.slots.free == []


@pytest.mark.system
def test_compiled_chains_of_operations_say_the_same(small: Bundle) -> None:
    options: dict[str, Any] = {"num_steps": 2, "max_patches": 3, "stop_threshold": 1.0, "seed": 3}
    fused = static(small)
    fused.slots = SlotPool(backend="eager")  # traced whole, as for inductor, and run as it is
    ordinary = list(generate_stream(small, "one", **options))
    for chunk, other in zip(generate_stream(fused, "one", **options), ordinary, strict=True):
        torch.testing.assert_close(chunk.wave_S, other.wave_S, atol=1e-5, rtol=0)


def test_place_says_whether_chains_are_compiled(small: Bundle) -> None:
    for fused in (False, True):
        pool = place(small, graphs=True, fused=fused).slots
        assert pool is not None
        assert pool.backend == ("inductor" if fused else None)
    with pytest.raises(BundleError, match="fused is for the steps of graphs"):
        place(small, fused=True)
