"""How far texts of the same sound differ, and which texts look made up."""

import pytest

from pipelines.hearing.consistency import (
    character_error_rate,
    characters,
    compression_ratio,
    edge_error_rate,
    hallucinations,
    length_ratio,
    mean_of_pairs,
    medoid,
    pairwise,
    pairwise_words,
)

SAID = "the ferry leaves at seven in the morning"


def test_character_error_rate_counts_edits_over_the_given_text() -> None:
    assert character_error_rate("hello world", given="Hello, world!") == 0
    assert character_error_rate("", given="abcd") == 1
    assert character_error_rate("abxd", given="abcd") == 0.25
    assert character_error_rate("anything", given="") == 1


def test_scripts_without_spaces_are_compared_by_characters_alone() -> None:
    assert characters("你 好 世界", language="zh") == "你好世界"
    assert character_error_rate("廣州市佛地產", given="广州市房地产", language="zh") == pytest.approx(1 / 6)
    assert pairwise_words(["你好", "你 好"], language="zh") is None
    assert pairwise_words(["a b", "a c"], language="en") == [[0, 0.5], [0.5, 0]]
    assert pairwise_words(["the cat sat", "the cat sat down"], language="en") == [[0, 1 / 3], [0.25, 0]]


def test_the_matrix_compares_every_text_with_every_other_by_the_length_of_its_row() -> None:
    matrix = pairwise(["abcd", "abcx", "ab"], language="en")
    assert matrix == [[0, 0.25, 0.5], [0.25, 0, 0.5], [1, 1, 0]]
    assert mean_of_pairs(matrix) == pytest.approx(3.5 / 6)
    assert mean_of_pairs([[0.0]]) is None


def test_the_medoid_is_the_text_that_two_against_one_agree_on() -> None:
    assert medoid(pairwise([SAID.replace("ferry", "very"), SAID, SAID.replace("seven", "heaven")], language="en")) == 1
    assert medoid(pairwise(["thank you for watching", SAID, SAID.replace("seven", "eleven")], language="en")) != 0
    assert medoid(pairwise(["one", "two"], language="en")) == 0, "of two, the primary's"


def test_a_lost_word_at_an_end_shows_at_the_edges_and_a_mistake_in_the_middle_does_not() -> None:
    assert edge_error_rate(SAID, given=SAID) == 0
    assert edge_error_rate(SAID.replace("leaves at seven", "leaps to heaven"), given=SAID) == 0
    assert edge_error_rate(SAID.removesuffix(" morning"), given=SAID) > 0.5
    assert edge_error_rate(SAID.removeprefix("the ferry "), given=SAID) > 0.5
    assert edge_error_rate("oh " + SAID, given=SAID) == pytest.approx(3 / 12), "an insertion shifts nothing behind it"
    assert edge_error_rate("", given="") == 0


def test_the_length_ratio_tells_a_text_that_is_cut_from_one_that_says_more() -> None:
    assert length_ratio(SAID[:20], given=SAID) == pytest.approx(0.5, abs=0.03)
    assert length_ratio(SAID + " " + SAID, given=SAID) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize(
    ("text", "language", "rule"),
    [
        ("you you you you you are you you you", "en", "repeated_words"),
        ("and then he said hesaidthatheshouldhavebeenthere", "en", "long_word"),
        ("a so internationalizations of it", "en", "long_word"),
        ("Thanks for watching!", "en", "phrase"),
        ("謝謝觀看", "zh", "phrase"),
        ("so we go on and we go on and we go on and we go on and that is all there is to it", "en", "loop"),
        ("然后我们走吧走吧走吧走吧走吧", "zh", "loop"),
        ("the cat is on the mat, " * 12, "en", "compression"),
        ("a" * 30 + " " + "b c d e f g h i j k " * 14, "en", "too_fast"),
    ],
)
def test_a_text_that_looks_made_up_is_named_by_its_rule(text: str, language: str, rule: str) -> None:
    assert rule in hallucinations(text, seconds=4.0, language=language)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("I understand.", "en"),
        ("No, no, no.", "en"),
        ("He has some responsibility, I think, for all of it.", "en"),
        ("Die Donaudampfschifffahrtsgesellschaft hat angerufen.", "de"),
        ("欢迎大家来体验达摩院推出的语音识别模型", "zh"),
        ("Thank you for watching the children while I was away.", "en"),
        ("", "en"),
    ],
)
def test_what_people_say_breaks_no_rule(text: str, language: str) -> None:
    assert hallucinations(text, seconds=5.0, language=language) == ()


def test_a_recognizer_that_doubts_and_hears_nobody_is_believed() -> None:
    assert hallucinations("you", seconds=2, language="en", log_probability=-1.4, no_speech=0.9) == (
        "no_speech",
        "unsure",
    )
    assert hallucinations("you", seconds=2, language="en", log_probability=-1.4, no_speech=0.1) == ("unsure",)
    assert hallucinations("you", seconds=2, language="en", log_probability=-0.2, no_speech=0.9) == ()


def test_the_compression_ratio_is_that_of_whisper() -> None:
    from whisper.utils import compression_ratio as theirs

    for text in (SAID, SAID * 5):
        assert compression_ratio(text) == theirs(text)
    assert compression_ratio("") == 0


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            "hi",
            "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन "
            "प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए। प्रत्येक व्यक्ति को जीवन, स्वाधीनता और वैयक्तिक "
            "सुरक्षा का अधिकार है।",
        ),
        (
            "ka",
            "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით. მათ მინიჭებული აქვთ გონება "
            "და სინდისი და ერთმანეთის მიმართ უნდა იქცეოდნენ ძმობის სულისკვეთებით.",
        ),
        (
            "ml",
            "മനുഷ്യരെല്ലാവരും തുല്യാവകാശങ്ങളോടും അന്തസ്സോടും സ്വാതന്ത്ര്യത്തോടുംകൂടി ജനിച്ചിട്ടുള്ളവരാണ്. അന്യോന്യം ഭ്രാതൃഭാവത്തോടെ "
            "പെരുമാറുവാനാണ് മനുഷ്യന് വിവേകബുദ്ധിയും മനസ്സാക്ഷിയും സിദ്ധമായിരിക്കുന്നത്.",
        ),
    ],
)
def test_a_text_in_another_script_is_no_repetition_but_one_that_repeats_itself_is(code: str, text: str) -> None:
    assert hallucinations(text, seconds=len(text) / 14, language=code) == ()
    assert "compression" in hallucinations(text[:40] * 8, seconds=30, language=code)
