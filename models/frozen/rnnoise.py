"""RNNoise: noise suppression at 48 kHz, by the library (weights inside) in the pyrnnoise wheel."""

import ctypes
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.frozen import Wave, WeightsError, fingerprint_of, wheel_file

FRAME = 480
DELAY = 960
"""Samples by which the library's output lags its input."""


class Rnnoise:
    """Speech with its noise reduced. `wet` is the share of the network's output; 0.8 kept words best where measured.

    A fresh state for each waveform, so nothing of one is heard in another; threads may share an object.
    """

    RATE_HZ = 48000

    def __init__(self, *, wet: float = 0.8) -> None:
        self.wet = wet
        self.path = wheel_file("pyrnnoise", "librnnoise.so")

    @property
    def fingerprint(self) -> str:
        """Version, library and share."""
        return fingerprint_of("rnnoise", package="pyrnnoise", weights=[self.path], wet=self.wet)

    def __call__(self, waves: Sequence[Wave]) -> list[Wave]:
        """One waveform (48 kHz) of the same length and place in time, for each."""
        return [self.enhance(wave_S) for wave_S in waves]

    def enhance(self, wave_S: Wave) -> Wave:
        """A fresh state for each waveform; the lag is taken off, so dry and wet parts add up in phase."""
        frames = -(-(len(wave_S) + DELAY) // FRAME)
        padded = np.zeros(frames * FRAME, dtype=np.float32)
        padded[: len(wave_S)] = wave_S * 32768
        out = np.zeros_like(padded)
        state = self._library.rnnoise_create(None)
        try:
            for start in range(0, len(padded), FRAME):
                source = padded[start:].ctypes.data_as(ctypes.POINTER(ctypes.c_float))
                target = out[start:].ctypes.data_as(ctypes.POINTER(ctypes.c_float))
                self._library.rnnoise_process_frame(state, target, source)
        finally:
            self._library.rnnoise_destroy(state)
        clean_S = out[DELAY : DELAY + len(wave_S)] / 32768
        return (self.wet * clean_S + (1 - self.wet) * wave_S).astype(np.float32)

    @cached_property
    def _library(self) -> Any:
        library = ctypes.CDLL(str(self.path))
        pointer = ctypes.POINTER(ctypes.c_float)
        library.rnnoise_create.argtypes, library.rnnoise_create.restype = [ctypes.c_void_p], ctypes.c_void_p
        library.rnnoise_destroy.argtypes, library.rnnoise_destroy.restype = [ctypes.c_void_p], None
        library.rnnoise_process_frame.argtypes = [ctypes.c_void_p, pointer, pointer]
        library.rnnoise_process_frame.restype = ctypes.c_float
        assert library.rnnoise_get_frame_size() == FRAME
        return library


def enhancer(checkpoint: Path | None, *, device: str) -> Rnnoise:
    """All of it wet: who asks for an enhancer mixes it with what came in.

    Raises: WeightsError where a checkpoint is named, for its weights lie in the wheel.
    """
    if checkpoint is not None:
        raise WeightsError(f"rnnoise carries its weights and reads none from {checkpoint}; leave the checkpoint out")
    return Rnnoise(wet=1.0)
