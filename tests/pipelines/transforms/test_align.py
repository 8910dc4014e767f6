"""The words of a text in their places: texts of other clips, cut and lost words show, and unknown words do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from models.frozen import Wave
from models.frozen.espeak import Espeak, Utterance
from models.frozen.sphinx_align import WORST, SphinxAligner, sounds_of, words_of
from pipelines.filters import alignment, coverage, edge_words
from pipelines.transforms import align
from tests.pipelines import quality_of_words as quality
from tests.sounds import SILENCE, clip_of, scored

SENTENCE = "Sunday is the best part of the week, and the ferry leaves at seven."
OTHER = "A thin stripe runs down the middle of the road, all the way home."


@pytest.fixture(scope="module")
def speech() -> Wave:
    """One synthetic sentence at 16 kHz, about 4 s."""
    spoken = Espeak()([Utterance(text=SENTENCE, voice="en-us+m3")])[0]
    return np.asarray(soxr.resample(spoken, Espeak.RATE_HZ, 16000), dtype=np.float32)


def test_words_are_as_the_dictionary_writes_them() -> None:
    assert words_of("Don't stop, \u2018Bob\u2019 - it\u2019s FINE!") == ["don't", "stop", "bob", "it's", "fine"]
    assert words_of("?! 12") == []
    assert sounds_of("zorbulix") == "Z AO R B AH L IH K S"
    assert sounds_of("phette") == "F EH T EH"


def test_every_word_has_its_place_in_order_whatever_was_aligned_before(speech: Wave) -> None:
    aligner = SphinxAligner()
    found = aligner([speech, speech, speech[:1600]], [SENTENCE, OTHER, SENTENCE])
    words = found[0]
    assert words is not None
    assert [word.text for word in words] == words_of(SENTENCE)
    times = [time for word in words for time in (word.start_seconds, word.end_seconds)]
    assert times == sorted(times)
    assert times[-1] <= len(speech) / 16000 + 0.02
    assert found[2] is None, "longer than the sound"
    assert aligner([speech], [SENTENCE])[0] == words
    assert aligner([SILENCE, speech], [SENTENCE, ""]) == [None, None]


def test_a_word_that_the_dictionary_lacks_is_aligned_and_not_judged(speech: Wave) -> None:
    words = SphinxAligner()([speech], [SENTENCE.replace("Sunday", "Zorbulix")])[0]
    assert words is not None
    assert [word.known for word in words] == [False] + [True] * (len(words) - 1)
    clip = clip_of(speech, text=SENTENCE.replace("Sunday", "Zorbulix"), language="en")
    found = scored(align.Transform(align.Config()), clip)
    assert found.words is not None
    assert found.words[0] == "zorbulix"
    assert found.word_scores is not None
    assert found.edge_score == pytest.approx(found.word_scores[-1], abs=0.01), "the first word is not judged"


def test_a_right_text_scores_above_a_wrong_one(speech: Wave) -> None:
    right, wrong = quality.aligned([(speech, SENTENCE), (speech, OTHER)])
    assert right.align_score is not None
    assert wrong.align_score is not None
    assert right.align_score > wrong.align_score + 1
    assert right.words == tuple(words_of(SENTENCE))


def test_a_text_that_cannot_be_followed_has_the_worst_score_and_no_words(speech: Wave) -> None:
    found = scored(align.Transform(align.Config()), clip_of(speech[:8000], text=SENTENCE * 3, language="en"))
    assert (found.align_score, found.edge_score, found.words) == (WORST, WORST, None)
    assert not alignment.keep(found, alignment.Config())
    assert not edge_words.keep(found, edge_words.Config())


@pytest.mark.parametrize("facts", [{"text": "Guten Tag", "language": "de"}, {"text": None, "language": "en"}])
def test_what_nobody_can_align_stays_unmeasured(facts: dict[str, Any]) -> None:
    found = scored(align.Transform(align.Config()), clip_of(**facts))
    assert (found.align_score, found.uncovered_seconds) == (None, None)
    assert all(module.keep(found, module.Config()) for module in (alignment, edge_words, coverage))


def test_numbers_are_aligned_as_they_are_spoken() -> None:
    wave = Espeak()([Utterance(text="Room twelve is on the left.", voice="en-us+m3")])[0]
    clip = clip_of(
        np.asarray(soxr.resample(wave, Espeak.RATE_HZ, 16000), dtype=np.float32),
        text="Room 12 is on the left.",
        language="en",
    )
    assert scored(align.Transform(align.Config()), clip).words == ("room", "twelve", "is", "on", "the", "left")


@pytest.fixture(scope="module")
def clips(shared: Path) -> list[quality.Spoken]:
    """The real English clips with a transcript, 12 clean and 5 noisy."""
    return quality.spoken_english(shared / "audio")


@pytest.mark.shared
def test_texts_of_other_real_clips_are_found_and_no_right_one_is_lost(clips: list[quality.Spoken]) -> None:
    right = quality.aligned([(clip.wave, clip.text) for clip in clips])
    wrong = quality.aligned(quality.swapped(clips, count=1))
    assert quality.refused(right, lambda segment: alignment.keep(segment, alignment.Config())) == 0
    assert quality.refused(wrong, lambda segment: alignment.keep(segment, alignment.Config())) >= 0.95


@pytest.mark.shared
def test_cuts_through_words_and_lost_words_are_found_in_most_clean_real_clips(clips: list[quality.Spoken]) -> None:
    clean = [clip for clip in clips if clip.kind == "clean"]
    right = quality.aligned([(clip.wave, clip.text) for clip in clean])

    def whole(found: Any) -> bool:
        return edge_words.keep(found, edge_words.Config())

    def covered(found: Any) -> bool:
        return coverage.keep(found, coverage.Config())

    assert quality.refused(right, whole) <= 0.1
    assert quality.refused(right, covered) <= 0.1
    for at_start in (True, False):
        assert quality.refused(quality.aligned(quality.cut(clean, right, at_start=at_start)), whole) >= 0.5
    assert quality.refused(quality.aligned(quality.lacking(clean)), covered) >= 0.7
