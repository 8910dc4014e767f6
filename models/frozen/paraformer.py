"""Paraformer: Mandarin speech to text, from a FunASR model folder on this machine, checked tensor by tensor."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.frozen import Heard, Wave, WeightsError, fingerprint_of
from models.frozen.funasr import BETWEEN_HAN, SHORTEST, folder_of, load, quiet

FIX = "put a FunASR model folder there (config.yaml, model.pt, tokens.json, am.mvn), or route its languages elsewhere"


class Paraformer:
    """One waveform at a time, as FunASR does it on a CPU anyway. Loading sets torch's seed and number of threads."""

    RATE_HZ = 16000

    def __init__(self, checkpoint: Path, *, device: str = "cpu") -> None:
        """Raises: WeightsError where there is no model folder."""
        self.path = folder_of(checkpoint, what="Paraformer", fix=FIX)
        self.device = device

    @property
    def fingerprint(self) -> str:
        """Version and all files of the folder."""
        return fingerprint_of("paraformer", package="funasr", weights=[self.path])

    def __call__(self, waves: Sequence[Wave], languages: Sequence[str | None] = ()) -> list[Heard]:
        """One text a waveform (16 kHz)."""
        return [self.transcribe(wave_S) for wave_S in waves]

    def transcribe(self, wave_S: Wave) -> Heard:
        """The text, without the spaces between its characters; empty for less than 0.2 s.

        Empty too where a Paraformer with timestamps finds none of its tokens in the sound: FunASR breaks off there.
        """
        if len(wave_S) < SHORTEST:
            return Heard(text="", language="zh")
        try:
            with quiet():
                found = self._model.generate(input=[wave_S.astype(np.float32)], key=["clip"])
        except IndexError:  # the first peak of the second predictor, which has none
            found = []
        text = str(found[0].get("text", "")) if found else ""
        return Heard(text=BETWEEN_HAN.sub("", text).strip(), language="zh")

    @cached_property
    def _model(self) -> Any:
        return load(self.path, kind="Paraformer", device=self.device, fix=FIX)


def recognizer(checkpoint: Path | None, *, device: str = "cpu") -> Paraformer:
    """The recognizer with the model folder at `checkpoint`.

    Raises: WeightsError
    """
    if checkpoint is None:
        raise WeightsError(f"paraformer needs checkpoints.paraformer: the path of its folder; {FIX}")
    return Paraformer(checkpoint, device=device)
