"""Requests spoken together are spoken as if each were alone, whenever they come and go."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from models.runtime.batch import Batch, Step
from models.runtime.bundle import Bundle
from models.runtime.draws import Draws
from models.runtime.generate import generate, generate_batch
from models.runtime.prompt import RequestError
from models.runtime.request import Request
from tests.models.runtime.voices import voice
from tests.small import small_bundle

REQUESTS: list[dict[str, Any]] = [
    {"text": "hello there, this one is the longest text of all", "seed": 1, "max_patches": 3},
    {"text": "hi you all", "seed": 2, "prompt_audio": voice(0.7), "prompt_text": "ha", "max_patches": 6},
    {"text": "something", "seed": 3, "prompt_audio": voice(0.5), "max_patches": 5, "speaker_scale": 0.7},
    {"text": "a token, a patch", "seed": 4, "template": "tts_interleave", "max_patches": 7},
    {"text": "both at once", "seed": 5, "template": "tts_interleave", "prompt_audio": voice(1.1), "prompt_text": "ho"},
    {"text": "without guidance", "seed": 6, "guidance_scale": 0.0, "max_patches": 4},
    {"text": "in other steps", "seed": 7, "num_steps": 3, "method": "midpoint", "max_patches": 2},
]


def requests() -> list[Request]:
    return [Request(**{"stop_threshold": 1.0, "max_patches": 4, "num_steps": 2, **one}) for one in REQUESTS]


@pytest.mark.parametrize("meanflow", [False, True])
def test_batch_equals_one_at_a_time(meanflow: bool) -> None:
    bundle = small_bundle(meanflow={"enabled": meanflow})
    asked = [one for one in requests() if not meanflow or (one.guidance_scale is None and one.method is None)]
    for one, together in zip(asked, generate_batch(bundle, asked), strict=True):
        fields = {name: getattr(one, name) for name in Request.__dataclass_fields__ if name != "text"}
        alone = generate(bundle, one.text, **fields)
        assert (together.patches, together.finish_reason) == (alone.patches, alone.finish_reason)
        torch.testing.assert_close(together.latent_FD, alone.latent_FD, atol=1e-5, rtol=0)
        torch.testing.assert_close(together.wave_S, alone.wave_S, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            torch.tensor(together.stop_probabilities), torch.tensor(alone.stop_probabilities), atol=1e-5, rtol=0
        )


def test_requests_that_come_later_change_nothing_for_those_under_way(small: Bundle) -> None:
    asked = requests()[:5]
    batch, made = Batch(small), dict[int, list[Step]]()
    waiting = iter(asked)
    for tick in itertools.count():
        if tick % 2 == 0 and (one := next(waiting, None)):
            batch.add(one)
        if not batch.busy:
            break
        for number, step in batch.step().items():
            made.setdefault(number, []).append(step)
    assert batch.groups == {}
    for number, one in enumerate(asked):
        alone = generate_batch(small, [one])[0]
        assert made[number][-1].finish_reason == alone.finish_reason == "length"
        latent_FD = torch.cat([step.latent_KD for step in made[number]])
        torch.testing.assert_close(latent_FD, alone.latent_FD, atol=1e-5, rtol=0)


def test_request_that_is_called_off_ends_at_the_next_patch_and_the_others_go_on(small: Bundle) -> None:
    off = False
    batch = Batch(small)
    asked = [Request(text="hello", max_patches=4, stop_threshold=1.0, seed=seed, num_steps=2) for seed in (1, 2)]
    asked.append(Request(text="hello", max_patches=4, stop_threshold=1.0, num_steps=2, cancelled=lambda: off))
    for one in asked:
        batch.add(one)
    assert set(batch.step()) == {0, 1, 2}
    off = True
    made = batch.step()
    assert made[2].finish_reason == "cancelled"
    assert made[2].latent_KD.shape == (0, 8)
    assert made[0].finish_reason is None
    assert set(batch.step()) == {0, 1}
    assert {step.finish_reason for step in batch.step().values()} == {"length"}
    assert not batch.busy


def test_request_that_fails_ends_alone(small: Bundle) -> None:
    def gone() -> bool:
        raise ConnectionError("nobody listens any more")

    asked = Request(text="hello", max_patches=2, stop_threshold=1.0, num_steps=2, seed=1)
    no_numbers = Draws(recorded=[torch.full((1, 4, 8), torch.nan)])
    batch, made = Batch(small), [list[Step]() for _ in range(3)]
    for one in (replace(asked, cancelled=gone), asked, replace(asked, draws=no_numbers)):
        batch.add(one)
    while batch.busy:
        for number, step in batch.step().items():
            made[number].append(step)
    assert [[step.finish_reason for step in own] for own in made] == [[None], [None, "length"], [None]]
    assert isinstance(made[0][0].error, ConnectionError)
    assert "not numbers" in str(made[2][0].error)
    latent_FD = torch.cat([step.latent_KD for step in made[1]])
    torch.testing.assert_close(latent_FD, generate_batch(small, [asked])[0].latent_FD, atol=1e-5, rtol=0)
    with pytest.raises(ConnectionError, match="nobody listens"):
        generate(small, "hello", cancelled=gone)
    with pytest.raises(RequestError, match="request 0: the model made latents that are not numbers"):
        generate_batch(small, [replace(asked, draws=Draws(recorded=[torch.full((1, 4, 8), torch.nan)]))])


def test_request_that_another_thread_adds_while_a_step_is_made_is_spoken(small: Bundle) -> None:
    """What is asked about a request in the middle of a step stands for the other thread."""
    batch, made = Batch(small), dict[int, list[Step]]()
    asked = Request(text="hello", max_patches=2, stop_threshold=1.0, num_steps=2, seed=1)
    later = [replace(asked, num_steps=1), replace(asked, num_steps=1, guidance_scale=0.0)]

    def busy() -> bool:
        if later:
            batch.add(later.pop())
        return False

    batch.add(replace(asked, cancelled=busy))
    while batch.busy:
        for number, step in batch.step().items():
            made.setdefault(number, []).append(step)
    assert {number: len(own) for number, own in made.items()} == {0: 2, 1: 2, 2: 2}


def test_bad_request_is_named_before_anything_is_spoken(small: Bundle) -> None:
    with pytest.raises(RequestError, match="request 1: a patch needs at least one step"):
        generate_batch(small, [Request(text="fine"), Request(text="not fine", num_steps=0)])
    assert generate_batch(small, []) == []
