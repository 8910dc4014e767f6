"""Silero VAD: the probability of speech in every 32 ms, from the network in the silero-vad wheel."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.frozen import Wave, fingerprint_of, onnx_session, wheel_file

FRAME = 512
CONTEXT = 64
BLOCK_FRAMES = 512


class Silero:
    """Speech probabilities; the recurrent state lives inside a call, so calls neither influence nor disturb another."""

    RATE_HZ = 16000
    FRAME_SECONDS = FRAME / 16000

    def __init__(self) -> None:
        self.path = wheel_file("silero_vad", "data", "silero_vad_16k_sequence.onnx")

    @property
    def fingerprint(self) -> str:
        """Version and weights."""
        return fingerprint_of("silero", package="silero-vad", weights=[self.path])

    def __call__(self, waves: Sequence[Wave]) -> list[NDArray[np.float32]]:
        """One array a waveform (16 kHz): the probability of speech in each 32 ms frame, the last one zero-padded."""
        return [self.probabilities(wave_S) for wave_S in waves]

    def probabilities(self, wave_S: Wave) -> NDArray[np.float32]:
        """Frames with the 4 ms before them, in blocks: the same numbers as frame by frame, in few calls."""
        count = -(-len(wave_S) // FRAME)
        padded = np.zeros(CONTEXT + count * FRAME, dtype=np.float32)
        padded[CONTEXT : CONTEXT + len(wave_S)] = wave_S
        frames = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME] if count else padded[:0]
        hidden, cell = np.zeros((2, 1, 1, 128), dtype=np.float32)
        found = [np.zeros(0, dtype=np.float32)]
        for start in range(0, count, BLOCK_FRAMES):
            block = np.ascontiguousarray(frames[start : start + BLOCK_FRAMES])
            feed = {"input": block, "h": hidden, "c": cell}
            speech, hidden, cell = self._session.run(["speech_probs", "hn", "cn"], feed)
            found.append(speech.reshape(-1))
        return np.concatenate(found)

    @cached_property
    def _session(self) -> Any:
        return onnx_session(self.path)
