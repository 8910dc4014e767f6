"""Text in parts gives the ids of the whole text, however it is cut, and gives them early."""

import random
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from models.runtime.files import read_tokenizer
from models.text import tokens
from models.text.increments import Increments

SIGNS = (
    *"aeoxyzAZ019 .,!?'-\u2019\n\r\t \u00a0\u3000",
    *("'s", "'LL", "  ", "\n \n", "hello", " world", "[EN]", "<|audio_gen_span|>", "...", "3.14"),
    *"\u4f60\u597d\u3002\uff0c\u306f\u304b\u3099\u1112\u1161\u11ab\ud55c\uae00",  # a voicing mark, Hangul letters
    *"\u0301\u0308\u0327\u0323\u0302\u00e9\u212b\u2126\u09c7\u09be\u0d3e\u0338=<",  # accents, and what takes them
    *("\U0001f600", "\U0001f468\u200d\U0001f469", "\u05d0\u05b0", "\ufb01", "\u1e9b\u0323"),
)


@pytest.fixture(scope="module", params=["byte", pytest.param("official", marks=pytest.mark.shared)])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    if request.param == "byte":
        return tokens.byte_tokenizer()
    folder: Path = request.getfixturevalue("shared") / "parity" / "tiny_ckpt"
    return read_tokenizer(folder)


def in_parts(tokenizer: PreTrainedTokenizerBase, parts: list[str]) -> list[int]:
    reader = Increments(tokenizer)
    return [token for part in parts for token in reader.push(part)] + reader.finish()


def test_ten_thousand_random_splits_give_the_same_ids(tokenizer: PreTrainedTokenizerBase) -> None:
    draw = random.Random(1)
    for _ in range(1000):
        text = "".join(draw.choices(SIGNS, k=draw.randint(1, 40)))
        expected = tokens.encode(tokenizer, text)
        for _ in range(10):
            cuts = sorted(draw.choices(range(len(text) + 1), k=draw.randint(0, 12)))
            parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
            assert in_parts(tokenizer, parts) == expected, parts
        assert in_parts(tokenizer, list(text)) == expected, list(text)


def test_ids_come_a_word_later_and_no_more_is_held_back() -> None:
    made = tokens.byte_tokenizer()
    reader, held = Increments(made), []
    sentence = "One word after another is read aloud. " * 40
    read = 0
    for sign in sentence:
        read += len(reader.push(sign))
        held.append(len(reader.normal) + len(reader.tail))
    assert max(held) <= len(" another ") + 1
    assert read + len(reader.finish()) == len(sentence)


def test_one_reader_reads_one_text_after_another() -> None:
    made = tokens.byte_tokenizer()
    reader = Increments(made)
    first = reader.push("hello the") + reader.finish()
    second = reader.push("re you") + reader.finish()
    assert [first, second] == [tokens.encode(made, "hello the"), tokens.encode(made, "re you")]


def test_unknown_normalizer_or_no_pattern_is_read_at_the_end() -> None:
    from tokenizers import normalizers

    for change in ("normalizer", "pre_tokenizer"):
        made = tokens.byte_tokenizer()
        if change == "normalizer":
            made.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        else:
            made.backend_tokenizer.pre_tokenizer = None
        reader = Increments(made)
        assert reader.push("plain") + reader.push("text") == []
        assert reader.finish() == tokens.encode(made, "plaintext")
