"""FSMN-VAD: where somebody speaks, from a FunASR model folder on this machine, checked tensor by tensor."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.frozen import Wave, WeightsError, fingerprint_of
from models.frozen.funasr import SHORTEST, folder_of, load, quiet

FIX = "put the model folder of iic/speech_fsmn_vad_zh-cn-16k-common-pytorch there, or use another diarizer"


class FsmnVad:
    """Intervals of speech, one waveform at a time."""

    RATE_HZ = 16000

    def __init__(self, checkpoint: Path, *, device: str = "cpu") -> None:
        """Raises: WeightsError where there is no model folder."""
        self.path, self.device = folder_of(checkpoint, what="FSMN-VAD", fix=FIX), device

    @property
    def fingerprint(self) -> str:
        """Version and all files of the folder."""
        return fingerprint_of("fsmn_vad", package="funasr", weights=[self.path])

    def __call__(self, waves: Sequence[Wave]) -> list[list[tuple[float, float]]]:
        """For each waveform (16 kHz), start and end of its speech in seconds, in order; none in less than 0.2 s."""
        return [self.intervals(wave_S) for wave_S in waves]

    def intervals(self, wave_S: Wave) -> list[tuple[float, float]]:
        """Of one waveform; an interval never ends after it."""
        if len(wave_S) < SHORTEST:
            return []
        with quiet():
            found = self._model.generate(input=[wave_S.astype(np.float32)], key=["clip"])
        seconds = len(wave_S) / self.RATE_HZ
        pairs = found[0].get("value", []) if found else []
        return [(max(0.0, start / 1000), min(end / 1000, seconds)) for start, end in pairs if start / 1000 < seconds]

    @cached_property
    def _model(self) -> Any:
        return load(self.path, kind="FsmnVAD", device=self.device, fix=FIX)


def detector(checkpoint: Path | None, *, device: str = "cpu") -> FsmnVad:
    """The detector with the model folder at `checkpoint`.

    Raises: WeightsError
    """
    if checkpoint is None:
        raise WeightsError(f"the diarizer fsmn needs vad: the path of FSMN-VAD's model folder; {FIX}")
    return FsmnVad(checkpoint, device=device)
