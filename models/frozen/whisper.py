"""Whisper: speech to text in a hundred languages, and which one it is; from an official checkpoint on this machine."""

import pickle
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from models.frozen import Heard, Wave, WeightsError, fingerprint_of, local_file
from models.frozen.language import Guess

WINDOW = 480_000
"""Samples that the network sees at a time: 30 s."""
OWN = {"fil": "tl", "jv": "jw", "nb": "no"}
"""Codes in use here -> what Whisper calls the same language."""
USED = {"tl": "fil", "jw": "jv"}
"""And back."""
FIX = "put an official checkpoint there (large-v3.pt of github.com/openai/whisper), or route its languages elsewhere"


class Whisper:
    """Greedy (temperature 0), every window of 30 s without memory of the last: the same text for the same sound.

    A window is filled up with silence, and decoded without timestamps, as by `whisper.decode`; the longer way,
    `whisper.transcribe`, fills up with zeros of the spectrogram, begins windows where the last sentence ended, and
    tries higher temperatures where a text is improbable or repeats itself. Here it is kept, with what tells of it.

    On a GPU, windows that are in one language are decoded together, `batch` at a time. On a CPU one by one: a batch
    gains little there, and the last digits of a score would depend on its neighbors. Not to be shared between threads:
    while it decodes, its cache hangs on the network.
    """

    RATE_HZ = 16000

    def __init__(self, checkpoint: Path, *, device: str = "cpu", batch: int | None = None) -> None:
        """Raises: WeightsError where there is no checkpoint."""
        self.path = local_file(checkpoint, what="Whisper checkpoint", fix=FIX)
        self.device = device
        self.batch = batch or (16 if device.startswith("cuda") else 1)

    @property
    def fingerprint(self) -> str:
        """Version, weights, and how many windows at a time; on a GPU it computes in half precision."""
        precision = "half" if self.device.startswith("cuda") else "single"
        return fingerprint_of(
            "whisper",
            package="openai-whisper",
            weights=[self.path],
            decode="greedy",
            batch=self.batch,
            precision=precision,
            codes="iso",
        )

    def __call__(self, waves: Sequence[Wave], languages: Sequence[str | None]) -> list[Heard]:
        """One text a waveform (16 kHz); where its language is None, the network says which it is, by the first window.

        Log probability is the mean over windows; no speech is that of the window that has most of it.
        """
        import whisper

        found = self._languages(waves, languages)
        windows = [
            (item, start) for item, wave_S in enumerate(waves) for start in range(0, max(1, len(wave_S)), WINDOW)
        ]
        decoded: dict[tuple[int, int], Any] = {}
        for language in sorted(set(found)):
            same = [window for window in windows if found[window[0]] == language]
            for some in portions(same, size=self.batch):
                mels = self._mels([waves[item][start : start + WINDOW] for item, start in some])
                decoded.update(zip(some, self._decode(mels, language), strict=True))
        network = self._network
        words = whisper.tokenizer.get_tokenizer(network.is_multilingual, num_languages=network.num_languages)
        return [
            joined([decoded[window] for window in windows if window[0] == item], words) for item in range(len(waves))
        ]

    def languages(self, waves: Sequence[Wave]) -> list[Guess]:
        """The likeliest language of the first 30 s of each waveform (16 kHz), with its probability among all.

        Raises: WeightsError where the network is for English only.
        """
        if not self._network.is_multilingual:
            raise WeightsError(f"{self.path} is for English only, and tells no language; {FIX}")
        return [Guess(USED.get(code, code), probability) for code, probability in self._guessed(waves)]

    def _guessed(self, waves: Sequence[Wave]) -> Iterator[tuple[str, float]]:
        """The likeliest language of each waveform, as the network calls it, with its probability."""
        import whisper

        for some in portions(list(waves), size=self.batch):
            _, found = whisper.detect_language(self._network, self._mels([wave_S[:WINDOW] for wave_S in some]))
            yield from (max(item.items(), key=lambda pair: pair[1]) for item in found)

    def _languages(self, waves: Sequence[Wave], languages: Sequence[str | None]) -> list[str]:
        """What is asked for where the network knows it, else what it hears; as the network calls it."""
        import whisper

        if not self._network.is_multilingual:
            return ["en"] * len(waves)
        known = list(whisper.tokenizer.LANGUAGES)[: self._network.num_languages]  # Cantonese since large-v3
        told = [OWN.get(language or "", language or "") for language in languages]
        guessed = self._guessed([wave_S for wave_S, code in zip(waves, told, strict=True) if code not in known])
        return [code if code in known else next(guessed)[0] for code in told]

    def _decode(self, mels: Any, language: str) -> list[Any]:
        import whisper

        half = self.device.startswith("cuda")
        options = whisper.DecodingOptions(language=language, temperature=0.0, without_timestamps=True, fp16=half)
        results: list[Any] = whisper.decode(self._network, mels, options)
        return results

    def _mels(self, waves: Sequence[Wave]) -> Any:
        """Log-mel spectrograms of windows filled up with silence: [B, mels, 3000]. Each has a floor of its own."""
        import torch
        import whisper

        bands = self._network.dims.n_mels
        padded = [torch.from_numpy(whisper.pad_or_trim(wave_S)) for wave_S in waves]
        return torch.stack([whisper.log_mel_spectrogram(one, n_mels=bands, device=self.device) for one in padded])

    @cached_property
    def _network(self) -> Any:
        import torch
        import whisper

        try:
            stored = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
            network = whisper.model.Whisper(whisper.model.ModelDimensions(**stored["dims"]))
            network.load_state_dict(stored["model_state_dict"])
        except (RuntimeError, KeyError, TypeError, ValueError, OSError, EOFError, pickle.UnpicklingError) as error:
            raise WeightsError(f"{self.path} is no official Whisper checkpoint ({first_line(error)}); {FIX}") from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # whisper leaves its vocabulary's file open
            whisper.tokenizer.get_tokenizer(network.is_multilingual, num_languages=network.num_languages)
        return network.to(self.device).eval()


def portions(items: Sequence[Any], *, size: int) -> Iterator[Sequence[Any]]:
    """So many at a time."""
    return (items[at : at + size] for at in range(0, len(items), size))


def joined(windows: Sequence[Any], words: Any) -> Heard:
    """One text of the windows of a waveform: their tokens know whether there is a space between two of them."""
    text = "".join(words.decode(window.tokens) for window in windows).strip()
    score = sum(float(window.avg_logprob) for window in windows) / len(windows)
    silence = max(float(window.no_speech_prob) for window in windows)
    language = windows[0].language
    return Heard(text=text, language=USED.get(language, language), log_probability=score, no_speech=silence)


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def recognizer(checkpoint: Path | None, *, device: str = "cpu") -> Whisper:
    """The recognizer with the weights at `checkpoint`.

    Raises: WeightsError
    """
    if checkpoint is None:
        raise WeightsError(f"whisper needs checkpoints.whisper: the path of its weights; {FIX}")
    return Whisper(checkpoint, device=device)
