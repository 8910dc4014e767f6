"""Language tags are those of the official package, and an unknown name is refused."""

from pathlib import Path

import pytest

from models.runtime.files import read_json
from models.text.codes import BETTER
from models.text.language import language_tag, tagged


@pytest.mark.shared
def test_tags_are_the_recorded_ones(shared: Path) -> None:
    recorded = read_json(shared / "parity" / "fixtures" / "text.json")["language"]
    found = {given: [language_tag(given), tagged("hi", given)] for given in recorded}
    assert found == recorded


def test_no_language_is_no_tag() -> None:
    assert [tagged("hi", given) for given in (None, "", " ", "None")] == ["hi"] * 4


def test_codes_names_and_regions_come_to_one_tag() -> None:
    assert {language_tag(given) for given in ("de", "DEU", "german", "Deutsch", "de-AT", "de_CH")} == {"DE"}
    assert not set(BETTER) & set(BETTER.values())


OFFICIAL = (
    "iw:HE in:ID ji:YI jw:JV mo:RO sh:SR tl:FIL als:SQ arb:AR aze:AZ azj:AZ ekk:ET grn:GN hbs:SR khk:MN kmr:KU kur:KU "
    "lvs:LV mar:MR may:MS alb:SQ sqi:SQ mlg:MG nep:NE npi:NE nno:NN nob:NB pes:FA plt:MG pus:PS que:QU quz:QU swh:SW "
    "uzn:UZ yid:YI zsm:MS ydd:YI pnb:LAH ory:OR twi:AK cmn:ZH zh-yue:YUE zh_yue:YUE zh-yue-HK:YUE iw-IL:HE tl-PH:FIL "
    "art-lojban:JBO zh-min-nan-TW:NAN no-nyn:NN zh-Hant-TW:ZH en-US:EN"
)
"""Tags that the official package gave."""


def test_languages_are_known_by_their_own_and_by_chinese_names() -> None:
    given = "Türkçe Čeština Ελληνικά Українська العربية हिन्दी ไทย 英语 英文 法语 西班牙语 葡萄牙语 粵語"
    official = "TR CS EL UK AR HI TH EN EN FR ES PT YUE"
    assert [language_tag(name) for name in given.split()] == official.split()


def test_retired_codes_and_those_of_three_letters_give_the_official_tags() -> None:
    for pair in OFFICIAL.split():
        given, tag = pair.split(":")
        assert language_tag(given) == tag, given
    assert tagged("hi", "zh-yue") == "[\u53e3\u97f3:\u7ca4\u8bed]hi"


@pytest.mark.parametrize("given", ["gibberish", "e", "en glish", "[EN]", "x" * 1000, "und", "root", "und-DE"])
def test_what_is_no_language_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="is not a language that is known here"):
        language_tag(given)
