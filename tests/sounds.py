"""Clips for tests of transforms, and recordings as they lie beside the checkout."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.row import Clip, Segment, Wave


def clip_of(wave: Wave, rate_hz: int, **facts: Any) -> Clip:
    """A clip as `segment` makes it."""
    sha256 = hashlib.sha256(wave.tobytes()).hexdigest()
    known = {"recording": "x.wav", "recording_sha256": sha256, "key": sha256[:26], **facts}
    segment = Segment(
        corpus="c", license="", source="", start_sample=0, end_sample=len(wave), rate_hz=rate_hz, channels=1,
        seconds=len(wave) / rate_hz, **known,
    )  # fmt: skip
    return Clip(segment, wave)


def scored(transform: Any, clip: Clip) -> Segment:
    """What the transform makes of one clip."""
    done = transform([clip])[0]
    assert isinstance(done, Clip), done
    return done.segment


def native(path: Path) -> tuple[Wave, int]:
    """A recording at its own rate, channels averaged."""
    import soundfile

    wave, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return np.ascontiguousarray(wave.mean(axis=1)), rate_hz
