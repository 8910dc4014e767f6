"""The forms of a text that a segment gets, by rules or by models, and the name of what made them."""

from pathlib import Path

import pytest

from infra.manifest import ManifestError, parse
from pipelines.hearing.texts import RULES
from pipelines.transforms import text
from tests.checkpoints import write_ct_punc
from tests.sounds import clip_of, scored


def test_a_text_has_three_forms_and_the_written_one_stays() -> None:
    clip = clip_of(text="HE WENT, I THINK", text_raw=" HE WENT, I THINK", language="en")
    found = scored(text.Transform(text.Config()), clip)
    assert (found.text, found.text_raw) == ("HE WENT, I THINK", " HE WENT, I THINK")
    assert (found.text_norm, found.text_tts, found.text_rules) == ("he went i think", "He went, I think.", RULES)


def test_no_text_has_no_forms() -> None:
    transform = text.Transform(text.Config())
    assert scored(transform, clip_of()).text_rules is None
    marks = scored(transform, clip_of(text="?!"))
    assert (marks.text_norm, marks.text_tts) == (None, None)


def test_the_language_that_was_heard_decides_the_form_where_no_other_is_known() -> None:
    assert scored(text.Transform(text.Config()), clip_of(text="今天好", heard_language="zh")).text_tts == "今天好。"


def test_chinese_can_be_brought_into_one_script() -> None:
    transform = text.Transform(text.Config(chinese="simplified"))
    found = scored(transform, clip_of(text="廣州市房地產", language="zh"))
    assert (found.text, found.text_norm, found.text_tts) == ("廣州市房地產", "广州市房地产", "广州市房地产。")


@pytest.mark.parametrize(
    ("written", "code", "spoken"),
    [
        ("嗯我在2022年5月3日买了2个苹果啊", "zh", "嗯我在二零二二年五月三日买了两个苹果啊。"),
        ("温度从-5到+3℃，大约1~2天，1+1=2", "zh", "温度从负五到正三摄氏度，大约一到两天，一加一等于二。"),
        ("他今天下午说到GPT-4和C++11", "zh", "他今天下午说到GPT-四和C++十一。"),
        ("\t5 apples\nand 2 pears", "en", "Five apples and two pears."),
        ("Room 12 costs $5, isn't it?", "en", "Room twelve costs five dollars, isn't it?"),
        ("Zimmer 12", "de", "Zimmer 12."),
    ],
)
def test_numbers_are_spelled_out_where_asked_and_interjections_stay(written: str, code: str, spoken: str) -> None:
    transform = text.Transform(text.Config(spell_out=True))
    found = scored(transform, clip_of(text=written, language=code))
    assert found.text_tts == spoken
    assert found.text_rules == f"{RULES}+wetext"


def test_a_model_punctuates_texts_without_marks_and_leaves_the_others(tmp_path: Path) -> None:
    transform = text.Transform(text.Config(punctuate="ct_punc", checkpoint=write_ct_punc(tmp_path)))
    bare = scored(transform, clip_of(text="今天好今天", language="zh"))
    assert bare.text_tts is not None
    assert [c for c in bare.text_tts if c.isalnum()] == list("今天好今天")
    assert len(bare.text_tts) > len("今天好今天。")
    assert scored(transform, clip_of(text="今天，好", language="zh")).text_tts == "今天，好。"
    assert scored(transform, clip_of(text="guten tag", language="de")).text_tts == "Guten tag."
    assert bare.text_rules == f"{RULES}+ct_punc"
    assert transform.fingerprint != text.Transform(text.Config()).fingerprint


def test_a_punctuator_without_weights_is_a_mistake_in_the_manifest() -> None:
    with pytest.raises(ManifestError, match="punctuate: ct_punc needs checkpoint"):
        parse(text.Config, {"punctuate": "ct_punc"}, where="x.yaml")
