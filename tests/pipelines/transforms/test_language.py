"""Which language: what is given stands, sound and text have to agree, and what is not known is said to be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from infra.manifest import ManifestError, parse
from models.frozen import WeightsError
from models.frozen.espeak import Espeak, Utterance
from models.frozen.language import Guess
from models.frozen.moonshine import Moonshine
from pipelines.clip import Clip
from pipelines.row import Segment
from pipelines.transforms import language, language_check
from tests.checkpoints import write_whisper
from tests.pipelines import quality_of_words as quality
from tests.sounds import clip_of, scored

GERMAN = "Nach dem Essen gingen wir zu Fuß durch die Straßen zurück."


@pytest.mark.parametrize(
    ("given", "code"), [("en-US", "en"), ("cmn", "zh"), ("German", "german"), ("DE", "de"), ("zh_CN", "zh")]
)
def test_a_given_language_stands_under_one_code(given: str, code: str) -> None:
    found = scored(language.Transform(language.Config()), clip_of(given_language=given))
    assert (found.language, found.language_by) == (code, "given")


def test_a_text_tells_its_language_where_it_is_long_enough() -> None:
    transform = language.Transform(language.Config())
    told = scored(transform, clip_of(given_text=GERMAN))
    assert (told.language, told.language_by, told.language_text) == ("de", "text", "de")
    for short in ("ok", "", None):
        found = scored(transform, clip_of(given_text=short))
        assert (found.language, found.language_by, found.language_text) == (None, "unknown", None)


@pytest.mark.parametrize(
    ("sound", "text", "code", "by"),
    [
        (Guess("de", 0.95), GERMAN, "de", "audio+text"),
        (Guess("en", 0.95), GERMAN, None, "disagree"),
        (Guess("en", 0.5), GERMAN, "de", "text"),
        (Guess("en", 0.95), None, "en", "audio"),
        (Guess("en", 0.5), None, None, "unknown"),
    ],
)
def test_sound_and_text_decide_together(sound: Guess, text: str | None, code: str | None, by: str) -> None:
    transform = language.Transform(language.Config())
    found = transform.decide(clip_of(given_text=text), sound).segment
    assert (found.language, found.language_by) == (code, by)
    assert (found.language_audio, found.language_audio_probability) == (sound.language, sound.probability)


def test_a_given_language_stands_against_the_sound_and_what_was_heard_is_kept_beside_it() -> None:
    transform = language.Transform(language.Config())
    found = transform.decide(clip_of(given_text=GERMAN, given_language="fr"), Guess("de", 0.99)).segment
    assert (found.language, found.language_by) == ("fr", "given")
    assert (found.language_audio, found.language_text) == ("de", "de")


def test_a_network_that_listens_says_a_language_for_every_clip(tmp_path: Path) -> None:
    weights = write_whisper(tmp_path / "tiny.pt")
    cfg = language.Config(audio="whisper", checkpoint=weights, min_audio_probability=0)
    transform = language.Transform(cfg)
    rng = np.random.default_rng(0)
    clips = [Clip(clip_of().segment, rng.normal(0, 0.1, size=n).astype(np.float32)) for n in (16000, 40000)]
    found: list[Any] = transform(clips)
    assert [item.segment.language_by for item in found] == ["audio", "audio"]
    assert [item.segment.language for item in found] == [item.segment.language_audio for item in found]
    assert all(0 < item.segment.language_audio_probability <= 1 for item in found)
    assert transform([]) == []
    assert transform.fingerprint != language.Transform(language.Config()).fingerprint


def test_english_is_told_by_its_sound_without_a_checkpoint_and_other_languages_stay_unknown() -> None:
    lines = (
        ("en-us+m3", "The ferry leaves at seven, and the road along the river is closed."),
        ("de+f2", "Nach dem Essen gingen wir zu Fuß durch die Straßen zurück."),
        ("cmn+f2", "今天早上下了一点小雨，我们在家里喝茶。"),
    )
    waves = Espeak()([Utterance(text=text, voice=voice) for voice, text in lines])
    clips = [clip_of(soxr.resample(wave, Espeak.RATE_HZ, 16000).astype(np.float32)) for wave in waves]
    found: list[Any] = language.Transform(language.Config(audio="moonshine"))(clips)
    assert [item.segment.language for item in found] == ["en", None, None]
    assert [item.segment.language_by for item in found] == ["audio", "unknown", "unknown"]
    given: Any = language.Transform(language.Config(audio="moonshine"))([clip_of(given_text=GERMAN)])
    assert given[0].segment.language == "de", "silence speaks against no text"


def test_a_listener_without_weights_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="audio: whisper needs checkpoint"):
        parse(language.Config, {"audio": "whisper"}, where="x.yaml")
    with pytest.raises(WeightsError, match=r"no Whisper checkpoint at .*gone\.pt"):
        language.Transform(language.Config(audio="whisper", checkpoint=tmp_path / "gone.pt"))


SANTALI = "\u1c65\u1c5f\u1c71\u1c5b\u1c5f\u1c72\u1c64 \u1c6f\u1c5f\u1c79\u1c68\u1c65\u1c64"
KONKANI = "हांव गोंयां रावतां आनी कोंकणी उलयतां"


@pytest.mark.parametrize(
    ("facts", "agrees"),
    [
        ({"text": GERMAN, "language": "de"}, True),
        ({"text": GERMAN, "language": "en"}, False),
        ({"text": GERMAN, "language": None, "heard_language": "de"}, True),
        ({"text": GERMAN, "language": None}, None),
        ({"text": "ok", "language": "en"}, None),
        ({"text": SANTALI, "language": "sat"}, True),
        ({"text": SANTALI, "language": "hi"}, False),
        ({"text": KONKANI, "language": "kok"}, True),
        ({"text": "हमरा घर गाम मे अछि आ हम मैथिली बजैत छी", "language": "mai"}, None),
        ({"text": None, "language": "en"}, None),
    ],
)
def test_the_text_is_compared_with_the_language_it_was_routed_by(facts: dict[str, Any], agrees: bool | None) -> None:
    found = scored(language_check.Transform(language_check.Config()), clip_of(**facts))
    assert found.language_agrees is agrees


def test_texts_of_languages_that_look_alike_do_not_disagree() -> None:
    assert language_check.near("zh", "yue")
    assert not language_check.near("zh", "ja")
    assert not language_check.near("zh", None)


@pytest.mark.shared
def test_real_english_sounds_english_and_real_mandarin_does_not(shared: Path) -> None:
    listener = Moonshine()
    clean = [clip for clip in quality.spoken_english(shared / "audio") if clip.kind == "clean"]
    english = [guess.probability for guess in listener.languages([clip.wave for clip in clean])]
    paths = sorted((shared / "audio" / "zh").glob("*.flac"))
    mandarin = [guess.probability for guess in listener.languages([quality.read(path) for path in paths])]
    assert min(english) > 0.8, "measured: all above 0.97"
    assert len(mandarin) == 4
    assert max(mandarin) < 0.5, "measured: 0.22"


@pytest.mark.shared
def test_the_text_of_every_mandarin_and_english_clip_tells_its_language(shared: Path) -> None:
    transform = language.Transform(language.Config())
    lines = (shared / "audio" / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()
    names = lines[0].split("\t")
    rows = [dict(zip(names, line.split("\t"), strict=False)) for line in lines[1:]]
    told = [(row["language"], row["transcript"]) for row in rows if row["language"] and row["transcript"]]
    assert len(told) > 15
    found: list[Segment] = [scored(transform, clip_of(given_text=text)) for _, text in told]
    known = [(item.language, code) for item, (code, _) in zip(found, told, strict=True) if item.language]
    assert all(code == expected for code, expected in known), known
    assert {code for _, code in known} == {"en", "zh"}
    assert all(item.language == "zh" for item, (code, _) in zip(found, told, strict=True) if code == "zh")
    assert len(known) / len(told) > 0.7
