"""Whisper: speech to text in a hundred languages, from an official checkpoint on this machine."""

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from models.frozen import Heard, Wave, WeightsError, fingerprint_of, local_file

WINDOW = 480_000
"""Samples that the network sees at a time: 30 s."""
FIX = "put an official checkpoint there (large-v3.pt of github.com/openai/whisper), or route its languages elsewhere"


class Whisper:
    """Greedy, one window at a time, each without memory of the last: the same text for the same sound.

    Not to be shared between threads: while it decodes, its cache hangs on the network.
    """

    RATE_HZ = 16000

    def __init__(self, checkpoint: Path) -> None:
        """Raises: WeightsError where there is no checkpoint."""
        self.path = local_file(checkpoint, what="Whisper checkpoint", fix=FIX)

    @property
    def fingerprint(self) -> str:
        """Version and weights."""
        return fingerprint_of("whisper", package="openai-whisper", weights=[self.path], decode="greedy")

    def __call__(self, waves: Sequence[Wave], languages: Sequence[str | None]) -> list[Heard]:
        """One text a waveform (16 kHz); where its language is None, the network says which it is."""
        return [self.transcribe(wave_S, language) for wave_S, language in zip(waves, languages, strict=True)]

    def transcribe(self, wave_S: Wave, language: str | None) -> Heard:
        """Windows of 30 s, joined; language and mean log probability of the first."""
        import whisper

        language = language if language in whisper.tokenizer.LANGUAGES else None
        found = []
        for start in range(0, max(1, len(wave_S)), WINDOW):
            padded = whisper.pad_or_trim(wave_S[start : start + WINDOW])
            mel = whisper.log_mel_spectrogram(padded, n_mels=self._network.dims.n_mels)
            options = whisper.DecodingOptions(language=language, temperature=0.0, without_timestamps=True, fp16=False)
            found.append(whisper.decode(self._network, mel, options))
            language = language or found[0].language
        text = " ".join(result.text.strip() for result in found if result.text.strip())
        return Heard(text=text, language=found[0].language, log_probability=float(found[0].avg_logprob))

    @cached_property
    def _network(self) -> Any:
        import torch
        import whisper

        try:
            stored = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
            network = whisper.model.Whisper(whisper.model.ModelDimensions(**stored["dims"]))
            network.load_state_dict(stored["model_state_dict"])
        except (RuntimeError, KeyError, TypeError, ValueError, OSError, EOFError) as error:
            raise WeightsError(f"{self.path} is no official Whisper checkpoint ({first_line(error)}); {FIX}") from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # whisper leaves its vocabulary's file open
            whisper.tokenizer.get_tokenizer(network.is_multilingual, num_languages=network.num_languages)
        return network.eval()


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def recognizer(checkpoint: Path | None) -> Whisper:
    """The recognizer with the weights at `checkpoint`.

    Raises: WeightsError
    """
    if checkpoint is None:
        raise WeightsError(f"whisper needs checkpoints.whisper: the path of its weights; {FIX}")
    return Whisper(checkpoint)
