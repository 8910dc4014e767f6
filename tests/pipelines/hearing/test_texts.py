"""Forms of a text: one for comparing, one for speaking."""

import pytest

from pipelines.hearing.texts import converted, is_punctuated, norm_form, tts_form


@pytest.mark.parametrize(
    ("written", "code", "spoken"),
    [
        ("  Hello ,\tworld !", "en", "Hello, world!"),
        ("HE WENT HOME AND SLEPT", "en", "He went home and slept."),
        ("WHEN I CAME I'D SEEN IT", "en", "When I came I'd seen it."),
        ("then i said what i'll do", "en", "Then I said what I'll do."),
        ("\u00abi\u00bb \u00e8 un articolo", "it", "\u00abI\u00bb \u00e8 un articolo."),
        ("NASA", "en", "Nasa."),
        ("She works at NASA", "en", "She works at NASA."),
        ("\u201cGood\u201d \u2013 she said\u2026", "en", '"Good" - she said...'),
        ("今天好", "zh", "今天好。"),
        ("今 天 好", "zh", "今天好。"),
        ("你好，世界！", "zh", "你好，世界！"),
        ("你好,世界.", "zh", "你好，世界。"),
        ("圆周率是 3.14", "zh", "圆周率是 3.14。"),
        ("<|en|>\ufb01ne words", "en", "Fine words."),
        ("<i>He</i> said &quot;no&quot; [laughter] &amp; left <unk>", "en", 'He said "no" [laughter] & left.'),
        ("So 1 < 2 and 3 > 2 &c; <3", "en", "So 1 < 2 and 3 > 2 &c; <3."),
        ("e\u0301te\u0301", "fr", "\u00c9t\u00e9."),
        ("and then,", "en", "And then."),
        ("\u0928\u092e\u0938\u094d\u0924\u0947\u0964", "hi", "\u0928\u092e\u0938\u094d\u0924\u0947\u0964"),
        ("\u0928\u092e\u0938\u094d\u0924\u0947", "hi", "\u0928\u092e\u0938\u094d\u0924\u0947\u0964"),
        ("\u0643\u064a\u0641\u061f", "ar", "\u0643\u064a\u0641\u061f"),
        ("\u0645\u0631\u062d\u0628\u0627\u060c", "ar", "\u0645\u0631\u062d\u0628\u0627."),
        ("\u06cc\u06c1", "ur", "\u06cc\u06c1\u06d4"),
        ("\u1230\u120b\u121d\u1362", "am", "\u1230\u120b\u121d\u1362"),
        (
            "\u03a4\u03b9 \u03ba\u03ac\u03bd\u03b5\u03b9\u03c2;",
            "el",
            "\u03a4\u03b9 \u03ba\u03ac\u03bd\u03b5\u03b9\u03c2;",
        ),
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "th", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"),
        ("\u041e\u043d \u00ab\u0434\u0430.\u00bb", "ru", "\u041e\u043d \u00ab\u0434\u0430.\u00bb"),
        ("Really? (She left.)", "en", "Really? (She left.)"),
        ("...", "en", ""),
    ],
)
def test_the_spoken_form_of_a_text(written: str, code: str, spoken: str) -> None:
    assert tts_form(written, language=code) == spoken


def test_the_spoken_form_is_a_fixed_point() -> None:
    for written, code in (("HELLO  there", "en"), ("你好，世界", "zh"), ("你好, 世 界", "zh"), ("Ja, gut …", "de")):
        once = tts_form(written, language=code)
        assert tts_form(once, language=code) == once


def test_letters_are_left_alone_where_case_and_stop_are_not_wanted() -> None:
    assert tts_form("HELLO THERE", language="en", sentence_case=False, final_stop=False) == "HELLO THERE"


def test_the_form_for_comparing_keeps_letters_and_digits_of_any_script() -> None:
    assert norm_form("It's 5 o'clock - REALLY?") == "its 5 oclock really"
    assert norm_form("\uff21\uff22\uff23，你好！") == "abc 你好"
    assert norm_form("Room 12, $5", language="en") == "room twelve five dollars"
    assert norm_form("<|zh|><|NEUTRAL|>你好", language="zh") == "你好"
    assert norm_form("<i>He</i> said: [laughter] &quot;hello&quot; {breath}", language="en") == "he said hello"


def test_chinese_is_compared_in_simplified_characters_without_the_spaces_of_recognizers() -> None:
    assert norm_form("廣 州 市 房 地 產", language="zh") == norm_form("广州市房地产", language="zh") == "广州市房地产"
    assert norm_form("我用 iphone 打电话", language="zh") == "我用 iphone 打电话"
    assert converted("后来", to="traditional") == "後來"


def test_a_text_is_punctuated_where_a_mark_stands_in_it() -> None:
    assert is_punctuated("Yes, indeed")
    assert is_punctuated("你好。")
    assert not is_punctuated("it's five o'clock")
