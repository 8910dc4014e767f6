"""PocketSphinx: English speech to text with the model, words and grammar of its wheel; a check, not a label."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.frozen import Heard, Wave, fingerprint_of, wheel_file

SILENCE = 1e-4
"""Peak below which there is nothing to hear: in digital silence it hears a word."""


class PocketSphinx:
    """American English, 16 kHz. Measured on clean read speech: a third of the words wrong; on noise, most of them."""

    RATE_HZ = 16000
    LANGUAGES = ("en",)

    def __init__(self) -> None:
        self.model = wheel_file("pocketsphinx", "model", "en-us")

    @property
    def fingerprint(self) -> str:
        """Version and model files."""
        return fingerprint_of("pocketsphinx", package="pocketsphinx", weights=[self.model])

    def __call__(self, waves: Sequence[Wave], languages: Sequence[str | None] = ()) -> list[Heard]:
        """One text a waveform (16 kHz), lower case without punctuation; `languages` is not needed: all is English."""
        return [self.transcribe(wave_S) for wave_S in waves]

    def transcribe(self, wave_S: Wave) -> Heard:
        """Words of the best hypothesis. The front end starts afresh, or a text would depend on the clips before it."""
        if float(np.abs(wave_S).max(initial=0.0)) < SILENCE:
            return Heard(text="", language="en")
        decoder = self._decoder
        decoder.reinit_feat()
        decoder.start_utt()
        decoder.process_raw((np.clip(wave_S, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        best = decoder.hyp()
        return Heard(text=best.hypstr if best is not None else "", language="en")

    @cached_property
    def _decoder(self) -> Any:
        from pocketsphinx import Decoder

        return Decoder(
            hmm=str(self.model / "en-us"),
            lm=str(self.model / "en-us.lm.bin"),
            dict=str(self.model / "cmudict-en-us.dict"),
            loglevel="FATAL",
        )


def recognizer(checkpoint: Path | None = None, *, device: str = "cpu") -> PocketSphinx:
    """The recognizer of the wheel; `checkpoint` and `device` are for those that need them."""
    return PocketSphinx()
