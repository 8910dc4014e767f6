"""Language, transcript and text forms: what is given stands, what is not known is said to be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.manifest import ManifestError, parse
from models.frozen import WeightsError
from pipelines.row import Clip, Segment
from pipelines.transforms import language, text, transcribe

SILENCE = np.zeros(8000, dtype=np.float32)


def clip_of(**facts: Any) -> Clip:
    segment = Segment(
        key="k", corpus="c", recording="x.wav", recording_sha256="0" * 64, license="", source="", start_sample=0,
        end_sample=8000, rate_hz=16000, channels=1, seconds=0.5, **facts,
    )  # fmt: skip
    return Clip(segment, SILENCE)


def facts_of(transform: Any, clip: Clip) -> Segment:
    done = transform([clip])[0]
    assert isinstance(done, Clip)
    return done.segment


@pytest.mark.parametrize(
    ("given", "code"), [("en-US", "en"), ("cmn", "zh"), ("German", "german"), ("DE", "de"), ("zh_CN", "zh")]
)
def test_a_given_language_stands_under_one_code(given: str, code: str) -> None:
    found = facts_of(language.Transform(language.Config()), clip_of(given_language=given))
    assert (found.language, found.language_by) == (code, "given")


def test_a_text_tells_its_language_where_it_is_long_enough() -> None:
    transform = language.Transform(language.Config())
    told = facts_of(transform, clip_of(given_text="Nach dem Essen gingen wir zu Fuß durch die Straßen zurück."))
    assert (told.language, told.language_by) == ("de", "text")
    for short in ("ok", "", None):
        found = facts_of(transform, clip_of(given_text=short))
        assert (found.language, found.language_by) == (None, "unknown")


@pytest.mark.parametrize(
    ("written", "code", "spoken"),
    [
        ("  Hello ,\tworld !", "en", "Hello, world!"),
        ("HE WENT HOME AND SLEPT", "en", "He went home and slept."),
        ("NASA", "en", "Nasa."),
        ("\u201cGood\u201d \u2013 she said\u2026", "en", '"Good" - she said...'),
        ("今天好", "zh", "今天好。"),
        ("你好，世界！", "zh", "你好，世界！"),
        ("<|en|>ﬁne words", "en", "fine words."),
        ("e\u0301te\u0301", "fr", "\u00e9t\u00e9."),
        ("and then,", "en", "and then."),
        ("...", "en", ""),
    ],
)
def test_the_spoken_form_of_a_text(written: str, code: str, spoken: str) -> None:
    assert text.tts_form(written, language=code, cfg=text.Config()) == spoken


def test_the_spoken_form_is_a_fixed_point() -> None:
    for written, code in (("HELLO  there", "en"), ("你好，世界", "zh"), ("Ja, gut …", "de")):
        once = text.tts_form(written, language=code, cfg=text.Config())
        assert text.tts_form(once, language=code, cfg=text.Config()) == once


def test_the_form_for_comparing_keeps_letters_and_digits_of_any_script() -> None:
    assert text.norm_form("It's 5 o'clock - REALLY?") == "its 5 oclock really"
    assert text.norm_form("ＡＢＣ，你好！") == "abc 你好"


def test_no_text_has_no_spoken_form() -> None:
    transform = text.Transform(text.Config())
    assert facts_of(transform, clip_of()).text_tts is None
    assert facts_of(transform, clip_of(text="?!")).text_tts is None


def test_a_given_text_stands_and_what_was_heard_lies_beside_it() -> None:
    transform = transcribe.Transform(transcribe.Config())
    found = facts_of(transform, clip_of(given_text=" Hello there. ", language="en"))
    assert (found.text, found.text_by) == ("Hello there.", "given")
    assert found.heard_text == "", "there is nothing to hear in silence"
    assert found.heard_cer == 1.0
    other = facts_of(transform, clip_of(given_text="Guten Tag.", language="de"))
    assert (other.text_by, other.heard_text) == ("given", None), "nobody here knows German"


def test_nothing_given_and_nobody_who_knows_the_language_is_untranscribed() -> None:
    transform = transcribe.Transform(transcribe.Config())
    for code in ("de", None, "en"):
        found = facts_of(transform, clip_of(language=code))
        assert (found.text, found.text_by) == (None, "untranscribed")


def test_routes_send_languages_to_recognizers() -> None:
    cfg = transcribe.Config(routes={"en": "pocketsphinx", "unknown": "pocketsphinx"}, beside=False)
    transform = transcribe.Transform(cfg)
    routes = [transform.route(clip_of(language=code)) for code in ("en", None, "de")]
    assert routes == ["pocketsphinx", "pocketsphinx", None]
    assert transform.route(clip_of(language="en", given_text="hello")) is None, "not asked to listen beside a text"
    assert transform.fingerprint != transcribe.Transform(transcribe.Config()).fingerprint


def test_character_error_rate_counts_edits_over_the_given_text() -> None:
    assert transcribe.character_error_rate("hello world", given="Hello, world!") == 0
    assert transcribe.character_error_rate("", given="abcd") == 1
    assert transcribe.character_error_rate("abxd", given="abcd") == 0.25


def test_a_route_to_something_that_hears_nothing_is_a_mistake_in_the_manifest() -> None:
    with pytest.raises(ManifestError, match=r"models/frozen/dnsmos\.py recognizes no speech"):
        parse(transcribe.Config, {"routes": {"en": "dnsmos"}}, where="x.yaml")
    with pytest.raises(ManifestError, match="did you mean 'whisper'"):
        parse(transcribe.Config, {"routes": {"en": "wisper"}}, where="x.yaml")


def test_a_recognizer_without_its_weights_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no Whisper checkpoint at .*gone\.pt"):
        transcribe.Transform(transcribe.Config(routes={"en": "whisper"}, checkpoints={"whisper": tmp_path / "gone.pt"}))
