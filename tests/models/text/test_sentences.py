"""Long texts are cut at sentences, nothing of them is lost, and no piece is too long."""

import random

import pytest

from models.text.sentences import LONGEST, SHORTEST, split

ENGLISH = 'Dr. Smith paid 3.50 dollars. Did he? "Yes!" he said; no more. Then J. R. Hale came, e.g. by train.'
CHINESE = "\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002\u6211\u4eec\u53bb\u516c\u56ed\u5427\uff01\u597d\u5417\uff1f"


def test_short_text_is_one_piece() -> None:
    assert split(f"  {ENGLISH}\n") == [ENGLISH]
    assert split(CHINESE) == [CHINESE]
    assert split(" \n ") == []


def test_sentences_end_at_marks_and_not_at_abbreviations_or_numbers() -> None:
    assert split(ENGLISH, longest=30) == [
        "Dr. Smith paid 3.50 dollars.",
        'Did he? "Yes!" he said; no more.',
        "Then J. R. Hale came,",
        "e.g. by train.",
    ]
    assert split(CHINESE, longest=11) == [CHINESE[:7], CHINESE[7:]]
    assert split("First line\nsecond line\n\nthird", longest=12) == ["First line", "second line", "third"]


def test_very_short_rest_joins_the_piece_before() -> None:
    sentence = "a" * 190 + ". "
    assert split(sentence + "Yes, yes.") == [sentence + "Yes, yes."]
    assert len(split(sentence + "Yes, that is so, and more.")) == 2


def test_too_long_a_sentence_is_cut_at_a_comma_then_at_a_blank_then_anywhere() -> None:
    assert split("one two three, four five six seven", longest=20) == ["one two three,", "four five six seven"]
    assert split("one two three four five six seven", longest=20) == ["one two three four", "five six seven"]
    assert split("x" * 45, longest=20) == ["x" * 20, "x" * 20, "x" * 5]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_and_no_piece_is_too_long(seed: int) -> None:
    draw = random.Random(seed)
    signs = [*"abc", " ", " ", ". ", ", ", "! ", "\n", "\u3002", "\u6211\u4eec", "1.5", "Mr. ", '"', "\u2014", ";"]
    text = "".join(draw.choices(signs, k=1000))
    pieces = split(text)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(piece == piece.strip() and 0 < len(piece) <= LONGEST + SHORTEST for piece in pieces)
