"""Token ids: official schedules and training examples, the byte tokenizer, text that spells a special token."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from models.backbone.config import StreamingConfig
from models.runtime.files import read_json, read_tokenizer
from models.text import tokens


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, Any]:
    return read_json(shared / "parity" / "fixtures" / "text.json")


@pytest.fixture(scope="module")
def official(shared: Path) -> PreTrainedTokenizerBase:
    return read_tokenizer(shared / "parity" / "tiny_ckpt")


@pytest.mark.shared
def test_text_is_encoded_as_recorded(official: PreTrainedTokenizerBase, recorded: dict[str, Any]) -> None:
    assert {text: tokens.encode(official, text) for text in recorded["encode"]} == recorded["encode"]


@pytest.mark.shared
@pytest.mark.parametrize("template", ["tts", "instruction_tts", "text_to_audio", "tts_interleave"])
def test_speaking_schedules_are_the_recorded_ones(
    official: PreTrainedTokenizerBase, recorded: dict[str, Any], template: str
) -> None:
    expected = recorded["schedule"][template]
    chunks = tokens.before_patches(official, "[EN]Hello world.\nThis is it.", template=template)
    patches = expected.count(407)
    assert [token for chunk in itertools.islice(chunks, patches) for token in (*chunk, 407)] == expected


@pytest.mark.shared
def test_training_examples_are_the_recorded_ones(official: PreTrainedTokenizerBase, recorded: dict[str, Any]) -> None:
    for name, expected in recorded["train_example"].items():
        template, patches = name.split("/")
        layout: tokens.Layout = "interleaved" if template == "tts_interleave" else "plain"
        found = tokens.training_example(
            official,
            "Hello world.",
            patches=int(patches),
            layout=layout,
            template="tts" if layout == "interleaved" else template,
        )
        assert found.ids == expected["input_ids"], name
        assert [float(speaks) for speaks in found.speaks] == expected["loss_mask"], name
        assert sum(found.audio) == int(patches)


@pytest.mark.shared
def test_cadences_are_the_recorded_ones(recorded: dict[str, Any]) -> None:
    for written, expected in recorded["interleave"].items():
        streaming = StreamingConfig(**json.loads(written))
        assert list(itertools.islice(tokens.quotas(streaming), 14)) == expected["quota"]
        for words, patches, name in ((10, 6, "seq_10text_6audio"), (4, 9, "seq_4text_9audio")):
            found = tokens.alternate(range(100, 100 + words), [*[1] * patches, 2], end=9, streaming=streaming)
            assert found == expected[name], (written, name)


def test_the_end_of_the_text_stands_alone_in_every_cadence() -> None:
    """Where a chunk of two has one token left, the end waits for the next chunk, as in the official builder."""
    streaming = StreamingConfig(interleave_mode="buffered_ratio")
    words = [10, 11, 12, 13, 14, 15, 16]
    found = tokens.alternate(words, [1] * 8, end=9, streaming=streaming)
    assert found == [10, 11, 12, 1, 13, 1, 14, 1, 15, 1, 16, 1, 9, 1, 1, 1]


def test_the_byte_tokenizer_reads_back_what_it_saved(tmp_path: Path) -> None:
    made = tokens.byte_tokenizer()
    made.save_pretrained(str(tmp_path))
    read = AutoTokenizer.from_pretrained(str(tmp_path), local_files_only=True)
    text = "h\u00e9llo [EN] 3.14\n\u6587\u672c \U0001f600"
    assert len(made) == len(read) == 256 + 8
    assert tokens.encode(read, text) == tokens.encode(made, text)
    assert len(tokens.encode(made, text)) == len(text.encode())
    assert read.decode(tokens.encode(read, text)) == text
    assert tokens.specials(read) == tokens.specials(made)


def test_text_that_spells_a_special_token_stays_text() -> None:
    made = tokens.byte_tokenizer()
    example = tokens.training_example(made, f"say {tokens.AUDIO_SPAN} and {tokens.END}", patches=3)
    assert sum(example.audio) == sum(example.speaks) == 3
    assert tokens.specials(made).end not in example.ids


@pytest.mark.parametrize("layout", ["plain", "interleaved"])
@pytest.mark.parametrize(("text", "patches"), [("", 1), ("a", 1), ("a", 9), ("a long text, longer than audio", 2)])
def test_every_patch_has_a_place_and_a_speaking_position_before_it(
    layout: tokens.Layout, text: str, patches: int
) -> None:
    example = tokens.training_example(tokens.byte_tokenizer(), text, patches=patches, layout=layout)
    places = [number for number, here in enumerate(example.audio) if here]
    assert len(places) == patches
    assert [number for number, here in enumerate(example.speaks) if here] == [place - 1 for place in places]


def test_mistakes_are_sentences() -> None:
    made = tokens.byte_tokenizer()
    with pytest.raises(ValueError, match="at least one patch"):
        tokens.training_example(made, "a", patches=0)
    with pytest.raises(ValueError, match="unknown template 'song'; there are: tts"):
        tokens.prefix(made, "a", template="song")


def test_special_tokens_are_found_without_a_copy_of_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokens.byte_tokenizer()

    def copied(*_: object, **__: object) -> dict[str, int]:
        raise AssertionError("a vocabulary of 151,643 tokens takes 90 ms to copy, before the first sound of a request")

    monkeypatch.setattr(type(tokenizer), "get_vocab", copied)
    found = tokens.specials(tokenizer)
    names = [tokens.AUDIO_START, tokens.AUDIO_SPAN, tokens.AUDIO_END, tokens.TEXT_END, tokens.END]
    assert tokenizer.convert_ids_to_tokens(list(dataclasses.astuple(found))) == names
