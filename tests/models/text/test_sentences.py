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


ENDS = {
    "Hindi": "\u0964",
    "Urdu": "\u06d4",
    "Arabic": "\u061f",
    "Amharic": "\u1362",
    "Burmese": "\u104b",
    "Armenian": "\u0589",
    "Khmer": "\u17d4",
    "Tibetan": "\u0f0d",
}


@pytest.mark.parametrize("script", ENDS)
def test_sentences_of_other_scripts_end_at_their_own_marks(script: str) -> None:
    first, second = (f"{words}{ENDS[script]}" for words in ("one two three", "four five six seven"))
    assert split(f"{first} {second}", longest=22) == [first, second]


@pytest.mark.parametrize(
    ("first", "second"),
    [("Am 3. Mai z. B. kam sie.", "Dann d. h. ging er."), ("Mme. Durand est \u00ab l\u00e0. \u00bb", "Et vous ?")],
)
def test_sentences_of_other_languages_end_where_they_end(first: str, second: str) -> None:
    assert split(f"{first} {second}", longest=len(first) + 2) == [first, second]


@pytest.mark.parametrize(
    "text",
    [
        "\u4eca\u5929\u3002\u201c\u597d\u5417\uff1f\u201d\u4ed6\u95ee\u3002",
        "See https://example.com/a?b=c!d. It is  there.",
        "\u0e19\u0e35\u0e48\u0e04\u0e37\u0e2d! \u0e14\u0e35",
    ],
)
def test_what_is_one_piece_is_the_text_as_it_was_written(text: str) -> None:
    assert split(text) == [text]


def test_lines_of_one_sentence_are_one_sentence_and_blank_lines_end_one() -> None:
    wrapped = "This sentence was cut into\nlines by its editor, and\ngoes on. The next one\nis short."
    assert split(wrapped, longest=70) == [
        "This sentence was cut into lines by its editor, and goes on.",
        "The next one is short.",
    ]
    assert split("A heading\n\nThen the text of it begins", longest=30) == ["A heading", "Then the text of it begins"]
    assert split("\u4eca\u5929\u5929\u6c14\n\u5f88\u597d\u3002") == ["\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002"]


@pytest.mark.parametrize("sign", ["e\u0301\u0302", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\u0e17\u0e35\u0e48"])
def test_no_cut_falls_within_a_sign(sign: str) -> None:
    pieces = split(sign * 60, longest=50)
    assert len(pieces) > 2
    assert all(len(piece) % len(sign) == 0 and piece.startswith(sign) for piece in pieces)
