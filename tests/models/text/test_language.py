"""Language tags are those of the official package, and an unknown name is refused."""

from pathlib import Path

import pytest

from models.runtime.files import read_json
from models.text.language import NAMES, THREE_LETTERS, language_tag, tagged


@pytest.mark.shared
def test_tags_are_the_recorded_ones(shared: Path) -> None:
    recorded = read_json(shared / "parity" / "fixtures" / "text.json")["language"]
    found = {given: [language_tag(given), tagged("hi", given)] for given in recorded}
    assert found == recorded


def test_no_language_is_no_tag() -> None:
    assert [tagged("hi", given) for given in (None, "", " ", "None")] == ["hi"] * 4


def test_codes_names_and_regions_come_to_one_tag() -> None:
    assert {language_tag(given) for given in ("de", "DEU", "german", "Deutsch", "de-AT", "de_CH")} == {"DE"}
    assert all(code in NAMES for code in THREE_LETTERS.values())


@pytest.mark.parametrize("given", ["gibberish", "e", "en glish", "[EN]", "x" * 1000])
def test_what_is_no_language_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="is not a language that is known here"):
        language_tag(given)
