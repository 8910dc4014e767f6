"""Long texts: piece by piece in one voice, streamed as offline, and cut where the maximum says."""

from typing import Any

import pytest
import torch

from models.runtime import batch
from models.runtime.batch import Step
from models.runtime.bundle import Bundle
from models.runtime.draws import Draws
from models.runtime.generate import generate
from models.runtime.long import found_voice, generate_long, stream_long
from models.runtime.prompt import RequestError
from models.runtime.speaking import Opening
from models.runtime.voice import Voice
from tests.models.runtime.voices import voice
from tests.small import bundle_that_stops_at

SENTENCE = "This is a sentence of the kind that a long text has very many of, and so is the next one after it. "
LONG = SENTENCE * 5  # three pieces: two sentences, two, one
PATCH = 7680


@pytest.fixture
def voices(monkeypatch: pytest.MonkeyPatch) -> list[Voice]:
    """The voices that speech was begun with, in order."""
    seen: list[Voice] = []
    begin = batch.begin

    def noting(parts: Any, sampler: Any, opening: Opening) -> Any:
        seen.append(opening.voice)
        return begin(parts, sampler, opening)

    monkeypatch.setattr(batch, "begin", noting)
    return seen


def test_text_of_one_piece_is_spoken_as_ever(small: Bundle) -> None:
    options: dict[str, Any] = {"seed": 4, "max_patches": 3, "stop_threshold": 1.0, "num_steps": 2}
    assert torch.equal(
        generate_long(small, " Hello you. ", **options).wave_S, generate(small, "Hello you.", **options).wave_S
    )


def test_prompt_is_the_voice_of_every_piece(voices: list[Voice]) -> None:
    speech = generate_long(
        bundle_that_stops_at(0.9), LONG, prompt_audio=voice(), prompt_text="hm", num_steps=2, max_patches=30
    )
    assert (speech.finish_reason, speech.patches, len(voices)) == ("stop", 3, 3)
    first = voices[0].xvector_1E
    assert first is not None
    assert all(own.xvector_1E is not None and torch.equal(own.xvector_1E, first) for own in voices)
    assert all(own.continues for own in voices)


def test_voice_that_the_first_piece_found_is_kept(voices: list[Voice]) -> None:
    speech = generate_long(bundle_that_stops_at(0.9), LONG, num_steps=2, max_patches=30)
    assert (speech.finish_reason, speech.patches) == ("stop", 3)
    assert voices[0].xvector_1E is None
    second, third = voices[1].xvector_1E, voices[2].xvector_1E
    assert second is not None
    assert third is not None
    assert torch.equal(second, third)
    assert voices[1].continues


@pytest.mark.parametrize(("seconds", "kept"), [(61, 10.0), (3, 3.0)])
def test_first_piece_too_long_for_a_prompt_gives_its_end_as_the_voice(small: Bundle, seconds: int, kept: float) -> None:
    latent_FD = torch.randn(seconds * 25, 8, generator=torch.Generator().manual_seed(0))
    found = found_voice(small, "a", [Step(latent_FD, 0.9, "stop")])
    sound = found["prompt_audio"]
    assert isinstance(sound, tuple)
    assert len(sound[0]) == kept * sound[1]
    assert found["prompt_text"] == (None if seconds > 60 else "a")


def test_mode_none_holds_of_the_first_piece_and_the_others_continue_it(voices: list[Voice]) -> None:
    speech = generate_long(bundle_that_stops_at(0.9), LONG, mode="none", num_steps=2, max_patches=30)
    assert (speech.finish_reason, speech.patches) == ("stop", 3)
    assert [own.xvector_1E is not None for own in voices] == [False, True, True]


def test_streamed_long_text_equals_it_offline() -> None:
    bundle = bundle_that_stops_at(0.9)
    options: dict[str, Any] = {"prompt_audio": voice(), "num_steps": 2, "seed": 9, "max_patches": 30}
    speech = generate_long(bundle, LONG, **options)
    chunks = list(stream_long(bundle, LONG, **options))
    assert [chunk.finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    torch.testing.assert_close(torch.cat([c.wave_S for c in chunks]), speech.wave_S, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("most", "finish"), [(1, "length"), (2, "length"), (3, "stop")])
def test_maximum_holds_for_all_pieces_together(most: int, finish: str) -> None:
    speech = generate_long(bundle_that_stops_at(0.9), LONG, num_steps=2, max_patches=most)
    assert (speech.finish_reason, speech.patches, len(speech.wave_S)) == (finish, most, most * PATCH)


def test_pieces_have_draws_of_their_own_and_the_seed_decides_them_all(small: Bundle) -> None:
    options: dict[str, Any] = {"prompt_audio": voice(), "num_steps": 2, "stop_threshold": 0.0, "max_patches": 30}
    one, again, other = (generate_long(small, SENTENCE * 4, seed=seed, **options) for seed in (1, 1, 2))
    assert torch.equal(one.wave_S, again.wave_S)
    assert not torch.allclose(one.latent_FD, other.latent_FD)
    assert not torch.allclose(one.latent_FD[:4], one.latent_FD[4:])


def test_long_text_can_be_called_off(small: Bundle) -> None:
    asked = iter([False, False, True])
    options: dict[str, Any] = {"prompt_audio": voice(), "num_steps": 2, "stop_threshold": 0.0, "max_patches": 30}
    chunks = list(stream_long(small, LONG, cancelled=lambda: next(asked), **options))
    assert chunks[-1].finish_reason == "cancelled"
    assert sum(len(chunk.wave_S) for chunk in chunks) == 2 * PATCH


def test_mistakes_are_sentences_before_anything_is_spoken(small: Bundle) -> None:
    with pytest.raises(RequestError, match="the text has 100000 characters, and at most 20000 are taken"):
        stream_long(small, "a" * 100000)
    with pytest.raises(RequestError, match="this text has several"):
        stream_long(small, LONG, draws=Draws())
    with pytest.raises(RequestError, match="at least one step"):
        stream_long(small, LONG, num_steps=0)
    with pytest.raises(RequestError, match="the text has 100000 characters, and at most 4096"):
        generate(small, "a" * 100000)
