"""A clip with facts, for the tests of transforms."""

from typing import Any

import numpy as np

from pipelines.clip import Clip
from pipelines.row import Segment, Wave

SILENCE = np.zeros(8000, dtype=np.float32)


def clip_of(wave_S: Wave = SILENCE, **facts: Any) -> Clip:
    """A clip at 16 kHz that has only these facts; half a second of silence where no waveform is given."""
    segment = Segment(
        key="k", corpus="c", recording="x.wav", recording_sha256="0" * 64, license="", source="", start_sample=0,
        end_sample=len(wave_S), rate_hz=16000, channels=1, seconds=len(wave_S) / 16000, **facts,
    )  # fmt: skip
    return Clip(segment, wave_S)


def facts_of(transform: Any, clip: Clip) -> Segment:
    """The segment after the transform has seen the clip alone."""
    done = transform([clip])[0]
    assert isinstance(done, Clip)
    return done.segment
