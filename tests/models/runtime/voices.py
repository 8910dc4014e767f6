"""A sound that can be imitated."""

import numpy as np

from models.runtime.prompt import Sound


def voice(seconds: float = 0.7, *, rate_hz: int = 16000, pitch_hz: float = 150.0) -> Sound:
    """A tone that comes and goes three times a second."""
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    wave_S = 0.3 * np.sin(2 * np.pi * pitch_hz * time) * np.sin(2 * np.pi * 3 * time) ** 2
    return wave_S.astype(np.float32), rate_hz
