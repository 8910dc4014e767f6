"""PocketSphinx: English speech to text with the acoustic model, words and grammar of its wheel; a check, not a label."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from models.frozen import Heard, Wave, fingerprint_of, wheel_file

PAD_SECONDS = 0.2


class PocketSphinx:
    """American English, 16 kHz. Measured on clean read speech: a third of the words wrong; on noise, most of them."""

    RATE_HZ = 16000
    LANGUAGES = ("en",)

    def __init__(self) -> None:
        self.model = wheel_file("pocketsphinx", "model", "en-us")

    @property
    def fingerprint(self) -> str:
        """Version, model files and padding."""
        return fingerprint_of("pocketsphinx", package="pocketsphinx", weights=[self.model], pad=PAD_SECONDS)

    def __call__(self, waves: Sequence[Wave], languages: Sequence[str | None] = ()) -> list[Heard]:
        """One text a waveform (16 kHz), lower case without punctuation; `languages` is not needed: all is English."""
        return [self.transcribe(wave_S) for wave_S in waves]

    def transcribe(self, wave_S: Wave) -> Heard:
        """Words of the best hypothesis. The running means of the features start afresh, so that order does not matter."""
        silence = np.zeros(int(PAD_SECONDS * self.RATE_HZ), dtype=np.float32)
        padded = np.concatenate([silence, np.clip(wave_S, -1, 1), silence])
        decoder = self._decoder
        decoder.set_cmn(self._first_means)
        decoder.start_utt()
        decoder.process_raw((padded * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        best = decoder.hyp()
        if best is None:
            return Heard(text="", language="en")
        frames = max(1, decoder.n_frames())
        return Heard(text=best.hypstr, language="en", log_probability=float(best.score) / frames)

    @cached_property
    def _decoder(self) -> Any:
        from pocketsphinx import Decoder

        return Decoder(
            hmm=str(self.model / "en-us"),
            lm=str(self.model / "en-us.lm.bin"),
            dict=str(self.model / "cmudict-en-us.dict"),
            loglevel="FATAL",
            beam=1e-48,
        )

    @cached_property
    def _first_means(self) -> str:
        return str(self._decoder.get_cmn(False))
