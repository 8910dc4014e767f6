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
    """American English, 16 kHz. On 12 clean read clips a quarter of the words is wrong, in noise most: no label.

    The look-ahead by phones, on by default there, is off: it prunes right words. One decoder for each thread.
    """

    RATE_HZ = 16000
    LANGUAGES = ("en",)

    def __init__(self) -> None:
        self.model = wheel_file("pocketsphinx", "model", "en-us")

    @property
    def fingerprint(self) -> str:
        """Version, model files, and the search."""
        return fingerprint_of("pocketsphinx", package="pocketsphinx", weights=[self.model], lookahead=0)

    def __call__(self, waves: Sequence[Wave], languages: Sequence[str | None] = ()) -> list[Heard]:
        """One text a waveform (16 kHz), lower case without punctuation; `languages` is not needed: all is English."""
        return [self.transcribe(wave_S) for wave_S in waves]

    def transcribe(self, wave_S: Wave) -> Heard:
        """Words of the best hypothesis."""
        if is_silent(wave_S):
            return Heard(text="", language="en")
        decoder = self._decoder
        listen(decoder, wave_S)
        best = decoder.hyp()
        return Heard(text=best.hypstr if best is not None else "", language="en")

    @cached_property
    def _decoder(self) -> Any:
        return decoder_of(self.model, lm=str(self.model / "en-us.lm.bin"), pl_window=0)


def decoder_of(model: Path, **settings: Any) -> Any:
    """A decoder with the acoustic model and the dictionary of the wheel."""
    from pocketsphinx import Decoder

    words = str(model / "cmudict-en-us.dict")
    return Decoder(hmm=str(model / "en-us"), dict=words, loglevel="FATAL", **settings)


def is_silent(wave_S: Wave) -> bool:
    """Whether there is nothing to hear."""
    return float(np.abs(wave_S).max(initial=0.0)) < SILENCE


def listen(decoder: Any, wave_S: Wave) -> None:
    """One utterance through a decoder. The front end starts afresh, or a result would depend on the clips before it."""
    decoder.reinit_feat()
    decoder.start_utt()
    decoder.process_raw((np.clip(wave_S, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()


def recognizer(checkpoint: Path | None = None, *, device: str = "cpu") -> PocketSphinx:
    """The recognizer of the wheel; `checkpoint` and `device` are for those that need them."""
    return PocketSphinx()
