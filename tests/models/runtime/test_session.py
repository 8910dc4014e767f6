"""Sessions: text in any parts gives one speech, audio comes as soon as it can, and every end has a reason."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from models.runtime.bundle import Bundle
from models.runtime.generate import Draws, generate
from models.runtime.prompt import RequestError
from models.runtime.session import Session
from models.runtime.stream import Chunk
from models.text import tokens
from tests.models.runtime.voices import voice
from tests.small import bundle_that_stops_at, small_bundle

PATCH = 7680
TEXT = "Well, who is it?"
BUFFERED = {"interleave_mode": "buffered_ratio", "initial_lookahead": 4, "ta_per_tta": 2, "warmup_ta": 1}
PROMPTS: dict[str, dict[str, Any]] = {
    "none": {},
    "xvector": {"prompt_audio": voice(0.5)},
    "pair": {"prompt_audio": voice(0.7), "prompt_text": "ha ha"},
}


def session(bundle: Bundle, prompt: str = "none", **options: Any) -> Session:
    return Session(bundle, **{"num_steps": 2, "stop_threshold": 1.0, "max_patches": 18, **PROMPTS[prompt], **options})


def in_parts(spoken: Session, parts: list[str]) -> list[Chunk]:
    return [chunk for part in parts for chunk in spoken.push(part)] + list(spoken.finish())


def joined(chunks: list[Chunk]) -> torch.Tensor:
    return torch.cat([chunk.wave_S for chunk in chunks])


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("streaming", [None, BUFFERED])
def test_every_split_of_the_text_gives_the_same_speech(prompt: str, streaming: dict[str, Any] | None) -> None:
    bundle = small_bundle(streaming=streaming)
    whole = in_parts(session(bundle, prompt), [TEXT])
    assert [chunk.finish_reason for chunk in whole] == [None] * (len(whole) - 1) + ["length"]
    assert len(joined(whole)) == 18 * PATCH
    draw = random.Random(2)
    for _ in range(2):
        cuts = sorted(draw.choices(range(len(TEXT) + 1), k=5))
        parts = [TEXT[start:end] for start, end in zip([0, *cuts], [*cuts, len(TEXT)], strict=True)]
        assert torch.equal(joined(in_parts(session(bundle, prompt), parts)), joined(whole))


def test_audio_comes_a_word_behind_the_text(small: Bundle) -> None:
    """The byte tokenizer has a token a letter, and a word is known to be over when the next one begins."""
    spoken = session(small)
    heard = [[len(chunk.wave_S) for chunk in spoken.push(sign)] for sign in "one two three"]
    assert heard == [*[[]] * 4, [PATCH // 2, PATCH, PATCH], *[[]] * 3, [PATCH] * 4, *[[]] * 4]
    rest = list(spoken.finish())
    assert len(rest[0].wave_S) == PATCH
    assert rest[-1].finish_reason == "length"


def test_text_is_not_lost_where_nobody_listens_yet(small: Bundle) -> None:
    spoken = session(small)
    spoken.push("Well, ")
    spoken.push("who is it?")
    assert torch.equal(joined(list(spoken.finish())), joined(in_parts(session(small), [TEXT])))


@pytest.mark.parametrize(("prompt", "silent"), [("none", 1), ("xvector", 1), ("pair", 0)])
def test_first_patch_is_silence_unless_a_recording_is_continued(small: Bundle, prompt: str, silent: int) -> None:
    plain = joined(in_parts(session(small, prompt), [TEXT]))
    assert torch.equal(joined(in_parts(session(small, prompt, initial_silence=silent), [TEXT])), plain)
    assert not torch.equal(joined(in_parts(session(small, prompt, initial_silence=silent + 1), [TEXT])), plain)
    with torch.no_grad():
        mean_BFD = small.audiovae.encode(torch.zeros(1, 10 * PATCH)).mean_BFD
    expected = small.audiovae.decode(mean_BFD[:, :4])[0, : PATCH // 2]
    assert torch.allclose(plain[: PATCH // 2], expected, atol=1e-5) == (silent == 1)


def test_stop_head_is_asked_only_once_the_text_is_over() -> None:
    spoken = session(bundle_that_stops_at(0.9), stop_threshold=0.8)
    pushed = [chunk for part in ("Hello ", "there, ", "you") for chunk in spoken.push(part)]
    assert pushed
    assert all(chunk.finish_reason is None for chunk in pushed)
    rest = list(spoken.finish())
    assert rest[-1].finish_reason == spoken.finish_reason == "stop"
    assert len(joined(pushed + rest)) == (len("Hello there, you") + 1) * PATCH


def test_maximum_ends_a_session_while_text_still_comes(small: Bundle) -> None:
    spoken = session(small, max_patches=3)
    chunks = list(spoken.push("Hello there"))
    assert chunks[-1].finish_reason == "length"
    assert len(joined(chunks)) == 3 * PATCH
    with pytest.raises(RequestError, match=r"has ended \(length\)"):
        spoken.push("more")


def test_very_short_text_is_cut_where_it_cannot_take_longer(small: Bundle) -> None:
    assert len(joined(in_parts(session(small), ["Hi"]))) == 13 * PATCH
    assert len(joined(in_parts(session(small, stop_guard=False), ["Hi"]))) == 18 * PATCH


@pytest.mark.parametrize("pushed", ["H", "Hello you"])
def test_cancelled_session_gives_what_it_held_back_and_nothing_more(small: Bundle, pushed: str) -> None:
    spoken = session(small)
    chunks = list(spoken.push(pushed))
    made = spoken.made
    chunks += spoken.cancel()
    assert (chunks[-1].finish_reason, spoken.made) == ("cancelled", made)
    assert len(joined(chunks)) == made * PATCH
    assert list(spoken.cancel()) == []
    assert list(spoken.finish()) == []
    with pytest.raises(RequestError, match=r"has ended \(cancelled\)"):
        spoken.push("x")


def test_cancel_from_outside_ends_the_speech_at_the_next_patch(small: Bundle) -> None:
    off = False
    spoken = session(small, cancelled=lambda: off)
    spoken.push(TEXT)
    heard = []
    for chunk in spoken.finish():
        heard.append(chunk)
        off = len(heard) == 4
    assert [chunk.finish_reason for chunk in heard] == [None] * 4 + ["cancelled"]


def test_generation_that_is_cancelled_keeps_what_was_made(small: Bundle) -> None:
    asked = iter([False, False, True])
    speech = generate(small, "hello", max_patches=9, stop_threshold=1.0, cancelled=lambda: next(asked))
    assert (speech.finish_reason, speech.patches, len(speech.wave_S)) == ("cancelled", 2, 2 * PATCH)
    at_once = generate(small, "hello", cancelled=lambda: True)
    assert (at_once.finish_reason, at_once.patches, len(at_once.wave_S)) == ("cancelled", 0, 0)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "template": ({"template": "tts"}, "leave template out"),
    "normalize": ({"normalize": True}, "cannot be normalized"),
    "language": ({"language": "no such language!"}, "not a language"),
    "steps": ({"num_steps": 0}, "at least one step"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_a_sentence(small: Bundle, name: str) -> None:
    options, words = MISTAKES[name]
    with pytest.raises(RequestError, match=words):
        session(small, **options)


def test_session_without_text_says_so_and_can_go_on(small: Bundle) -> None:
    spoken = session(small)
    list(spoken.push(" \n"))
    with pytest.raises(RequestError, match="no text to speak"):
        spoken.finish()
    with pytest.raises(RequestError, match="control character U\\+0007"):
        spoken.push("\a")
    spoken.push("hello")
    assert list(spoken.finish())[-1].finish_reason == "length"


def test_token_ids_and_text_come_to_the_same(small: Bundle) -> None:
    spoken = session(small)
    chunks = [chunk for token in tokens.encode(small.tokenizer, TEXT) for chunk in spoken.push_ids([token])]
    assert torch.equal(joined(chunks + list(spoken.finish())), joined(in_parts(session(small), [TEXT])))


def test_language_tag_is_read_before_the_text(small: Bundle) -> None:
    tagged = joined(in_parts(session(small, language="EN"), [TEXT]))
    assert torch.equal(tagged, joined(in_parts(session(small), [f"[EN]{TEXT}"])))


@pytest.mark.shared
def test_session_one_to_one_equals_speaking_the_interleaved_text_at_once(official: Bundle) -> None:
    noise = [torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(20)]
    options = {"num_steps": 2, "stop_threshold": 1.0, "max_patches": 12}
    speech = generate(official, TEXT, template="tts_interleave", draws=Draws(recorded=noise), **options)  # type: ignore[arg-type]
    spoken = Session(official, draws=Draws(recorded=noise), initial_silence=0, **options)  # type: ignore[arg-type]
    torch.testing.assert_close(joined(in_parts(spoken, [TEXT])), speech.wave_S, atol=1e-4, rtol=0)


def test_text_is_over_once_and_for_all_when_finish_was_called(small: Bundle) -> None:
    expected = joined(in_parts(session(small), [TEXT]))
    spoken = session(small)
    begun = list(spoken.push(TEXT))
    rest = spoken.finish()
    begun.append(next(rest))
    with pytest.raises(RequestError, match=r"finish\(\) was called"):
        spoken.push("and more")
    assert spoken.finish() is rest
    assert torch.equal(joined([*begun, *spoken.finish()]), expected)


@pytest.mark.parametrize("token", [99999, -1, 1.5])
def test_what_is_no_token_is_a_sentence(small: Bundle, token: Any) -> None:
    with pytest.raises(RequestError, match=f"{token} is no token of this model, which has {len(small.tokenizer)}"):
        session(small).push_ids([1, token])


def test_sign_that_is_cut_between_its_two_halves_is_one_sign(small: Bundle) -> None:
    parts = ["Well \ud83d", "", "\ude00 who is \ud83d", "\ude00\ud83d\ude00 it?"]
    whole = joined(in_parts(session(small), ["Well \U0001f600 who is \U0001f600\U0001f600 it?"]))
    assert torch.equal(joined(in_parts(session(small), parts)), whole)


def test_half_a_sign_is_a_sentence_and_the_session_can_go_on(small: Bundle) -> None:
    spoken = session(small)
    spoken.push("Well, \ud83d")
    with pytest.raises(RequestError, match=r"the text ends with U\+D83D, which is half of a surrogate pair"):
        spoken.finish()
    with pytest.raises(RequestError, match=r"the text has U\+D83D, which is half of a surrogate pair, at position 0"):
        spoken.push("who is it?")
    spoken.push("who is it?")
    assert torch.equal(joined(list(spoken.finish())), joined(in_parts(session(small), [TEXT])))


def test_what_was_made_and_not_heard_is_the_rest_of_an_ended_session(small: Bundle) -> None:
    whole = joined(list(session(small, max_patches=5).push("Hello you there")))
    spoken, heard = session(small, max_patches=5), []
    for chunk in spoken.push("Hello you there"):
        heard.append(chunk)
        if spoken.finish_reason:
            break
    assert torch.equal(joined([*heard, *spoken.finish()]), whole)


def test_cancel_from_another_thread_ends_the_speech_once(small: Bundle) -> None:
    spoken, heard, begun = session(small, max_patches=200, num_steps=1), [], threading.Event()

    def listen() -> None:
        spoken.push(TEXT)
        for chunk in spoken.finish():
            heard.append(chunk)
            begun.set()

    with ThreadPoolExecutor() as pool:
        listening = pool.submit(listen)
        assert begun.wait(60)
        rest = list(spoken.cancel())
        listening.result()
    assert [chunk.finish_reason for chunk in [*heard, *rest] if chunk.finish_reason] == ["cancelled"]
    assert len(joined(heard + rest)) == spoken.made * PATCH < 200 * PATCH


def test_session_takes_so_many_characters_and_says_how_many_there_would_be(small: Bundle) -> None:
    spoken = session(small)
    spoken.push("word " * 819)
    with pytest.raises(RequestError, match="would have 4105 characters, and at most 4096 are taken; finish it"):
        spoken.push("more words")
    with pytest.raises(RequestError, match=r"initial_silence is 2\.5"):
        session(small, initial_silence=2.5)
