"""Text as it is spoken: by libraries, and a sentence where one is missing."""

import sys

import pytest

from models.runtime.bundle import Bundle
from models.runtime.generate import generate
from models.runtime.prompt import RequestError
from models.text import normalize
from tests.small import small_bundle


@pytest.mark.parametrize(
    ("text", "language", "spoken"),
    [
        (
            "It costs $3.50 on  May 3, 2024. ",
            "en",
            "It costs three point five dollars on May three, twenty twenty four.",
        ),
        (
            "\u4eca\u5929\u662f2024\u5e745\u67083\u65e5",
            "zh",
            "\u4eca\u5929\u662f\u4e8c\u96f6\u4e8c\u56db\u5e74\u4e94\u6708\u4e09\u65e5",
        ),
        (" Das kostet 3,50 Euro im Mai. ", "de", "Das kostet 3,50 Euro im Mai."),
        ("  ", None, ""),
    ],
)
def test_numbers_of_mandarin_and_english_are_written_out(text: str, language: str | None, spoken: str) -> None:
    assert normalize.detected(text) == language
    assert normalize.normalized(text) == spoken


def test_speech_is_that_of_the_written_out_and_tagged_text() -> None:
    bundle = small_bundle()
    options = {"max_patches": 1, "num_steps": 1, "stop_guard": False}
    written = generate(bundle, "[EN]Room five is over there.", **options)  # type: ignore[arg-type]
    for language in ("auto_detect", " Auto_Detect"):
        asked = generate(bundle, "Room 5 is over there.", normalize=True, language=language, **options)  # type: ignore[arg-type]
        assert asked.latent_FD.equal(written.latent_FD)


def test_missing_library_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle: Bundle = small_bundle()
    monkeypatch.setitem(sys.modules, "lingua", None)
    normalize.detector.cache_clear()
    with pytest.raises(
        RequestError, match="lingua-language-detector is needed to tell the language of a text, and is not"
    ):
        generate(bundle, "hello", language="auto_detect", max_patches=1)
