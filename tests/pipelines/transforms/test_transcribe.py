"""Transcripts: what is given stands, recognizers are routed by language, all texts are compared with each other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.manifest import ManifestError, parse
from models.frozen import Heard, WeightsError
from pipelines.row import as_row, segment_of
from pipelines.transforms import transcribe
from tests.checkpoints import write_whisper
from tests.sounds import clip_of, scored

SAID = "the ferry leaves at seven"
SECONDS = np.zeros(80000, dtype=np.float32)


def heard_of(**texts: str) -> dict[str, Heard]:
    return {name: Heard(text=text, language="en", log_probability=-0.2, no_speech=0.1) for name, text in texts.items()}


def test_a_given_text_stands_and_what_was_heard_lies_beside_it() -> None:
    transform = transcribe.Transform(transcribe.Config())
    found = scored(transform, clip_of(given_text=" Hello there. ", language="en"))
    assert (found.text, found.text_raw, found.text_by) == ("Hello there.", " Hello there. ", "given")
    assert found.heard_text == "", "there is nothing to hear in silence"
    assert (found.heard_cer, found.edge_cer, found.length_ratio) == (1.0, 1.0, 0.0)
    assert (found.hypotheses, found.hypotheses_by) == (("",), ("moonshine",))
    other = scored(transform, clip_of(given_text="Guten Tag.", language="de"))
    assert (other.text_by, other.heard_text, other.pairwise_cer) == ("given", None, None), "nobody here knows German"
    assert other.compression_ratio is not None


def test_nothing_given_and_nobody_who_knows_the_language_is_untranscribed() -> None:
    transform = transcribe.Transform(transcribe.Config())
    for code in ("de", None, "en"):
        found = scored(transform, clip_of(language=code, speech_ratio=0.8))
        assert (found.text, found.text_raw, found.text_by) == (None, None, "untranscribed")
        assert found.untexted_seconds == pytest.approx(0.4), "all of the speech is without text"


def test_of_several_recognizers_the_one_that_the_others_agree_with_writes_the_text() -> None:
    heard = heard_of(a="thank you for watching", b=SAID, c="the ferry leaves at eleven")
    found = transcribe.decide(clip_of(SECONDS, language="en", speech_ratio=1.0), heard).segment
    assert (found.text, found.text_raw, found.text_by) == (SAID, SAID, "b")
    assert found.hypotheses_by == ("a", "b", "c")
    assert found.pairwise_cer is not None
    assert len(found.pairwise_cer) == 9
    assert [found.pairwise_cer[at] for at in (0, 4, 8)] == [0, 0, 0]
    assert found.cer_mean == pytest.approx(sum(found.pairwise_cer) / 6, abs=1e-4)
    assert found.wer_mean is not None
    assert found.hallucination == ()
    assert found.untexted_seconds == 0
    assert (found.heard_text, found.heard_cer) == (None, None), "nothing was given to compare with"
    assert (found.heard_language, found.heard_log_probability, found.heard_no_speech) == ("en", -0.2, 0.1)


def test_beside_a_given_text_all_texts_are_compared_and_it_comes_first() -> None:
    clip = clip_of(given_text="The ferry leaves at seven.", language="en")
    found = transcribe.decide(clip, heard_of(a="a ferry leaves at seven", b=SAID, c=SAID)).segment
    assert (found.text, found.heard_text, found.heard_cer) == ("The ferry leaves at seven.", SAID, 0.0)
    assert found.pairwise_cer is not None
    assert len(found.pairwise_cer) == 16
    assert found.pairwise_cer[2] == 0
    assert found.pairwise_cer[1] > 0
    assert found.edge_cer == pytest.approx(found.pairwise_cer[1] * len(SAID) / 12 / 3, abs=1e-3)


def test_a_recognizers_marks_stay_in_the_raw_text_alone() -> None:
    found = transcribe.decide(clip_of(language="zh"), {"x": Heard(text="<|zh|>今天好", language="zh")}).segment
    assert (found.text_raw, found.text) == ("<|zh|>今天好", "今天好")
    assert found.pairwise_wer is None


def test_notes_and_marks_are_no_text() -> None:
    found = transcribe.decide(clip_of(language="en"), heard_of(a="♪♪♪")).segment
    assert (found.text, found.text_by, found.hypotheses) == (None, "untranscribed", ("♪♪♪",))


def test_a_number_is_the_same_in_digits_and_in_words() -> None:
    clip = clip_of(given_text="She carried twelve apples.", language="en")
    assert transcribe.decide(clip, heard_of(a="She carried 12 apples.")).segment.heard_cer == 0


def test_a_made_up_text_is_named_by_its_rules() -> None:
    found = transcribe.decide(clip_of(SECONDS), heard_of(a="Thanks for watching!")).segment
    assert found.hallucination == ("phrase",)
    doubt = {"a": Heard(text="you", language="en", log_probability=-1.5, no_speech=0.9)}
    assert transcribe.decide(clip_of(language="en"), doubt).segment.hallucination == ("no_speech", "unsure")


def test_what_transcribe_finds_survives_a_row() -> None:
    found = transcribe.decide(clip_of(given_text="Hello", language="en"), heard_of(a="hallo", b="hello")).segment
    row = {name: list(value) if isinstance(value, tuple) else value for name, value in as_row(found).items()}
    assert segment_of(row) == found


def test_routes_send_languages_to_recognizers() -> None:
    routes = {"en": "pocketsphinx", "unknown": ["pocketsphinx"]}
    cfg = parse(transcribe.Config, {"routes": routes, "beside": False}, where="x.yaml")
    transform = transcribe.Transform(cfg)
    found = [transform.route(clip_of(language=code)) for code in ("en", None, "de")]
    assert found == [["pocketsphinx"], ["pocketsphinx"], []]
    assert transform.route(clip_of(language="en", given_text="hello")) == [], "not asked to listen beside a text"
    assert transform.fingerprint != transcribe.Transform(transcribe.Config()).fingerprint


def test_every_recognizer_of_a_route_hears_its_clips_and_nobody_elses(tmp_path: Path) -> None:
    weights = write_whisper(tmp_path / "tiny.pt")
    routes = {"en": ["pocketsphinx", "whisper"], "other": ["whisper"]}
    transform = transcribe.Transform(transcribe.Config(routes=routes, checkpoints={"whisper": weights}))
    clips = [clip_of(language=code) for code in ("en", "de", None)]
    found: list[Any] = [item.segment for item in transform(clips)]
    assert [item.hypotheses_by for item in found] == [("pocketsphinx", "whisper"), ("whisper",), None]
    assert [item.text_by for item in found[1:]] == ["whisper", "untranscribed"]
    assert found[1].heard_language == "de"


def test_a_route_to_something_that_hears_nothing_is_a_mistake_in_the_manifest() -> None:
    with pytest.raises(ManifestError, match=r"models/frozen/dnsmos\.py recognizes no speech"):
        parse(transcribe.Config, {"routes": {"en": "dnsmos"}}, where="x.yaml")
    with pytest.raises(ManifestError, match="did you mean 'whisper'"):
        parse(transcribe.Config, {"routes": {"en": ["wisper"]}}, where="x.yaml")
    with pytest.raises(ManifestError, match="names a recognizer twice"):
        parse(transcribe.Config, {"routes": {"en": ["whisper", "whisper"]}}, where="x.yaml")


def test_a_recognizer_without_its_weights_says_what_to_do(tmp_path: Path) -> None:
    cfg = transcribe.Config(routes={"en": ["whisper"]}, checkpoints={"whisper": tmp_path / "gone.pt"})
    with pytest.raises(WeightsError, match=r"no Whisper checkpoint at .*gone\.pt"):
        transcribe.Transform(cfg)
