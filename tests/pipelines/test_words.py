"""The transforms of words after each other, on real clips: right texts pass every filter, wrong ones do not."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.manifest import resolve
from pipelines.clip import Clip
from pipelines.row import Segment
from tests.pipelines import quality_of_words as quality
from tests.sounds import clip_of

CHAIN = ("language", "transcribe", "language_check", "text", "align")
FILTERS = ("has_text", "hallucination", "language_agreement", "agreement", "alignment")


def worked(clips: Sequence[Clip]) -> list[Segment]:
    """The clips after the chain; each transform sees only what it says that it reads."""
    for name in CHAIN:
        module = resolve("pipelines.transforms", name)
        done = module.Transform(module.Config())(list(clips))
        assert all(isinstance(clip, Clip) for clip in done)
        clips = done
    return [clip.segment for clip in clips]


def refusing(segment: Segment) -> set[str]:
    """Filters, at their defaults, that refuse the segment."""
    modules = {name: resolve("pipelines.filters", name) for name in FILTERS}
    return {name for name, module in modules.items() if not module.keep(segment, module.Config())}


@pytest.fixture(scope="module")
def spoken(shared: Path) -> list[quality.Spoken]:
    """The clean English clips with a transcript."""
    return [clip for clip in quality.spoken_english(shared / "audio") if clip.kind == "clean"]


@pytest.mark.shared
def test_right_texts_pass_and_those_of_other_clips_are_refused_twice(spoken: list[quality.Spoken]) -> None:
    right = worked([clip_of(clip.wave, given_text=clip.text, given_language="en", speech_ratio=0.9) for clip in spoken])
    assert [refusing(segment) for segment in right] == [set()] * len(right)
    assert all(segment.text == clip.text.strip() for segment, clip in zip(right, spoken, strict=True))
    assert all(segment.text_tts and segment.text_tts[0].isupper() for segment in right)
    pairs = quality.swapped(spoken, count=1)
    wrong = worked([clip_of(wave, given_text=text, given_language="en", speech_ratio=0.9) for wave, text in pairs])
    assert all({"agreement", "alignment"} <= refusing(segment) for segment in wrong)


@pytest.mark.shared
def test_what_is_recognized_without_a_text_fits_the_sound(spoken: list[quality.Spoken]) -> None:
    found = worked([clip_of(clip.wave, given_language="en", speech_ratio=0.9) for clip in spoken])
    assert {segment.text_by for segment in found} == {"moonshine"}
    assert [refusing(segment) for segment in found] == [set()] * len(found)
