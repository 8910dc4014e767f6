"""Captions by rules say what was measured; captions by others are held against it."""

import numpy as np
import pytest

from pipelines.captions.claims import Caption, by_rules, claims_in, conflicts
from pipelines.captions.pitch import pitch_hz
from pipelines.clip import Clip
from pipelines.filters import caption_conflicts
from pipelines.transforms.caption import Config, Transform
from tests.pipelines.captions.listener import clip_of


def pulses(hz: float, *, seconds: float = 2.0) -> np.ndarray:
    """A voice reduced to its pitch."""
    phase = np.cumsum(np.full(round(seconds * 16000), hz / 16000))
    beats = (np.diff(np.floor(phase), prepend=0) > 0).astype(np.float32)
    return np.convolve(beats, np.hanning(16), mode="same").astype(np.float32)


def said(text: str, *tags: str) -> Caption:
    return Caption(text, "A voice.", tags, "somebody")


def test_pitch_of_a_pulse_train_is_its_rate_and_noise_has_none() -> None:
    settings = Config().model_dump(include={"lowest_hz", "highest_hz", "voicing"})
    for hz in (90, 140, 210, 320):
        assert pitch_hz(pulses(hz), **settings) == pytest.approx(hz, rel=0.03)
    white = np.random.default_rng(0).normal(0, 0.1, size=32000).astype(np.float32)
    assert pitch_hz(white, **settings) is None


def test_a_caption_by_rules_says_what_was_measured() -> None:
    clip = clip_of(seconds=2.0, text="thirty-two letters in two seconds", snr_db=40.0)
    done = Transform(Config())([Clip(clip.segment, pulses(110))])[0]
    assert isinstance(done, Clip)
    assert done.segment.pitch_hz == pytest.approx(110, rel=0.03)
    assert done.segment.caption == "A low voice speaks English, at a medium pace, with a quiet background."
    assert done.segment.caption_short == "A low voice, at a medium pace."
    assert done.segment.caption_tags == ("pitch:low", "rate:medium", "background:quiet", "language:en")
    assert (done.segment.caption_by, done.segment.caption_conflicts) == ("rules", ())


@pytest.mark.parametrize("pitch", [None, 70.0, 129.9, 184.0, 410.0])
@pytest.mark.parametrize("snr", [None, 0.0, 11.9, 24.0, 80.0])
@pytest.mark.parametrize("language", [None, "en", "zh", "sw"])
@pytest.mark.parametrize("letters", [1, 9, 12, 40])
def test_a_caption_by_rules_never_denies_itself(
    pitch: float | None, snr: float | None, language: str | None, letters: int
) -> None:
    segment = clip_of(language=language, snr_db=snr, text="a" * letters).with_(pitch_hz=pitch).segment
    assert conflicts(by_rules(segment), segment) == ()


@pytest.mark.parametrize(
    ("text", "tags", "facts", "denied"),
    [
        ("A deep voice tells a story.", (), {"pitch_hz": 260.0}, "pitch: low is claimed, 260 Hz is measured"),
        ("A voice.", ("voice:male",), {"pitch_hz": 240.0}, "voice: male is claimed, 240 Hz is measured"),
        ("A woman tells a story.", (), {"pitch_hz": 95.0}, "voice: female is claimed, 95 Hz is measured"),
        ("A voice, speaking rapidly.", (), {"text": "slow"}, "rate: fast is claimed, 4 characters/s is measured"),
        ("A voice.", ("rate:slow",), {"text": "x" * 25}, "rate: slow is claimed, 25 characters/s is measured"),
        ("A clean recording.", (), {"snr_db": 4.0}, "background: quiet is claimed, 4 dB over the background"),
        ("A voice on a noisy street.", (), {"snr_db": 55.0}, "background: loud is claimed, 55 dB"),
        ("A voice.", ("language:fr",), {"language": "de"}, "language: fr is claimed, de is known"),
        ("Someone speaks French.", (), {"language": "de"}, "language: fr is claimed, de is known"),
        ("A man speaks.", ("voice:female",), {"pitch_hz": 160.0}, "voice: it says both female and male"),
    ],
)
def test_what_the_measures_deny_is_found(
    text: str, tags: tuple[str, ...], facts: dict[str, object], denied: str
) -> None:
    segment = clip_of().with_(**facts).segment
    found = conflicts(said(text, *tags), segment)
    assert any(sentence.startswith(denied) for sentence in found), found


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("A man with a low-pitched voice speaks slowly.", {"pitch_hz": 150.0, "text": "ten letters"}),
        ("A woman, without a noisy background, not fast.", {"pitch_hz": 130.0, "snr_db": 60.0, "text": "few"}),
        ("A shrill voice in a noisy place speaks French.", {"pitch_hz": None, "snr_db": None, "language": None}),
        ("An angry old man.", {"pitch_hz": 200.0}),
    ],
)
def test_what_is_near_or_negated_or_not_measured_is_no_conflict(text: str, facts: dict[str, object]) -> None:
    assert conflicts(said(text), clip_of().with_(**facts).segment) == ()


def test_words_are_claims_only_as_words() -> None:
    assert claims_in("The commander walked along a slope in a fastened coat, female.") == {"voice": {"female"}}
    assert claims_in("A man's deep, warm voice.") == {"voice": {"male"}, "pitch": {"low"}}


def test_the_filter_keeps_captions_that_nothing_denies() -> None:
    segment, cfg = clip_of().segment, caption_conflicts.Config()
    assert not caption_conflicts.keep(segment, cfg), "no caption at all"
    clip = clip_of().with_(caption_conflicts=("pitch: ...",))
    assert not caption_conflicts.keep(clip.segment, cfg)
    assert caption_conflicts.keep(clip.segment, caption_conflicts.Config(max=1))
    assert caption_conflicts.keep(clip.with_(caption_conflicts=()).segment, cfg)
