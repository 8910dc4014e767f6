"""Whisper by CTranslate2: the same networks, another engine; from a converted folder on this machine, int8 on a CPU."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.frozen import Heard, Wave, WeightsError, fingerprint_of, local_file
from models.frozen.language import Guess
from models.frozen.whisper import OWN, USED, WINDOW, first_line, portions

FIX = (
    "put a converted folder there (model.bin, config.json, tokenizer.json, vocabulary.json; "
    "ct2-transformers-converter writes one), or route its languages elsewhere"
)
FILES = ("model.bin", "config.json", "tokenizer.json")
"""Without its tokenizer.json, faster-whisper would ask a hub for one."""
FRAMES = 3000
LONGEST = 448
"""Tokens of a window, as the network allows."""


class FasterWhisper:
    """Greedy (one beam, temperature 0), every window of 30 s without memory of the last, filled up with silence.

    `WhisperModel.transcribe` takes five beams, and differs as `whisper.transcribe` does (see `Whisper`). Threads may
    share it.
    """

    RATE_HZ = 16000

    def __init__(self, checkpoint: Path, *, device: str = "cpu", batch: int | None = None) -> None:
        """Raises: WeightsError where a file of the folder is missing."""
        self.path = local_file(checkpoint, what="CTranslate2 Whisper folder", fix=FIX)
        missing = [name for name in FILES if not (self.path / name).is_file()]
        if missing:
            raise WeightsError(f"{self.path} lacks {', '.join(missing)}; {FIX}")
        self.device, _, index = device.partition(":")
        self.index = int(index or 0)
        self.batch = batch or (16 if self.device == "cuda" else 1)
        self.compute = "float16" if self.device == "cuda" else "int8"

    @property
    def fingerprint(self) -> str:
        """Version, all files of the folder, and the numbers it computes with."""
        settings = {"decode": "greedy", "batch": self.batch, "compute": self.compute, "codes": "iso"}
        return fingerprint_of("faster_whisper", package="faster-whisper", weights=[self.path], **settings)

    def __call__(self, waves: Sequence[Wave], languages: Sequence[str | None]) -> list[Heard]:
        """One text a waveform (16 kHz); where its language is None, the network says which it is, by the first window.

        Log probability is the mean over windows; no speech is that of the window that has most of it.
        """
        asked = [OWN.get(language or "", language or "") for language in languages]
        guessed = self._guessed([wave_S for wave_S, code in zip(waves, asked, strict=True) if code not in self._tokens])
        told = [code if code in self._tokens else next(guessed)[0] for code in asked]
        windows = [
            (item, start) for item, wave_S in enumerate(waves) for start in range(0, max(1, len(wave_S)), WINDOW)
        ]
        results: list[list[Heard]] = [[] for _ in waves]
        for some in portions(windows, size=self.batch):
            features = self._features([waves[item][start : start + WINDOW] for item, start in some])
            decoded = self._decode(features, [told[item] for item, _ in some])
            for (item, _), heard in zip(some, decoded, strict=True):
                results[item].append(heard)
        return [joined(heard) for heard in results]

    def languages(self, waves: Sequence[Wave]) -> list[Guess]:
        """The likeliest language of the first 30 s of each waveform (16 kHz), with its probability among all.

        Raises: WeightsError where the network is for English only, or its conversion lost its languages.
        """
        return [Guess(USED.get(code, code), probability) for code, probability in self._guessed(waves)]

    def _guessed(self, waves: Sequence[Wave]) -> Iterator[tuple[str, float]]:
        """The likeliest language of each waveform, as the network calls it, with its probability."""
        known = self._tokens
        for some in portions(list(waves), size=self.batch):
            found = self._model.model.detect_language(self._features([wave_S[:WINDOW] for wave_S in some]))
            for choices in found:
                yield next((token[2:-2], float(sure)) for token, sure in choices if token[2:-2] in known)

    def _features(self, waves: Sequence[Wave]) -> Any:
        """Log-mel spectrograms of windows filled up with silence, in CTranslate2's storage: [B, mels, 3000]."""
        import ctranslate2

        padded = [np.pad(wave_S[:WINDOW], (0, WINDOW - len(wave_S[:WINDOW]))) for wave_S in waves]
        mels = [self._model.feature_extractor(wave_S)[:, :FRAMES] for wave_S in padded]
        return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.stack(mels), dtype=np.float32))

    def _decode(self, features: Any, languages: Sequence[str]) -> list[Heard]:
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import get_suppressed_tokens

        words = Tokenizer(self._model.hf_tokenizer, True, task="transcribe", language=languages[0])
        prompts = [[words.sot, self._tokens[name], words.transcribe, words.no_timestamps] for name in languages]
        found = self._model.model.generate(
            features,
            prompts,
            beam_size=1,
            max_length=LONGEST,
            sampling_temperature=0.0,
            suppress_blank=True,
            suppress_tokens=get_suppressed_tokens(words, [-1]),
            return_scores=True,
            return_no_speech_prob=True,
        )
        heard = []
        for item, language in zip(found, languages, strict=True):
            tokens = item.sequences_ids[0]
            score = item.scores[0] * len(tokens) / (len(tokens) + 1)  # as Whisper: the end of the text counts too
            text = words.decode(tokens)
            told = USED.get(language, language)
            heard.append(Heard(text, told, log_probability=float(score), no_speech=float(item.no_speech_prob)))
        return heard

    @cached_property
    def _tokens(self) -> dict[str, int]:
        """Language -> its token, of the languages that the network was trained on."""
        ids = set(self.read("config.json").get("lang_ids", []))
        every = {name: self._model.hf_tokenizer.token_to_id(f"<|{name}|>") for name in self._model.supported_languages}
        known = {name: token for name, token in every.items() if token in ids}
        if not self._model.model.is_multilingual or not known:
            multilingual = self._model.model.is_multilingual
            why = "has no lang_ids in its config.json" if multilingual else "is for English only"
            raise WeightsError(f"{self.path} {why}, and is asked for several languages; {FIX}")
        return known

    @cached_property
    def _model(self) -> Any:
        from faster_whisper import WhisperModel

        if "model" not in self.read("tokenizer.json"):
            raise WeightsError(f"{self.path / 'tokenizer.json'} holds no tokenizer; {FIX}")
        try:
            model = WhisperModel(
                str(self.path),
                device=self.device,
                device_index=self.index,
                compute_type=self.compute,
                cpu_threads=1,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            raise WeightsError(f"{self.path} is no converted Whisper ({first_line(error)}); {FIX}") from None
        bands, wanted = len(model.feature_extractor.mel_filters), model.model.n_mels
        if bands != wanted:
            why = f"hears {wanted} mel bands, and its preprocessor_config.json, or the lack of it, makes {bands}"
            raise WeightsError(f"{self.path} {why}: put the one of the released network there")
        return model

    def read(self, name: str) -> dict[str, Any]:
        """The table in a JSON file of the folder."""
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise WeightsError(f"{self.path / name} is no JSON ({first_line(error)}); {FIX}") from None
        return dict(found) if isinstance(found, dict) else {}


def joined(windows: Sequence[Heard]) -> Heard:
    """One text of the windows of a waveform, whose texts begin with a space where there is to be one."""
    return Heard(
        text="".join(window.text for window in windows).strip(),
        language=windows[0].language,
        log_probability=sum(window.log_probability or 0.0 for window in windows) / len(windows),
        no_speech=max(window.no_speech or 0.0 for window in windows),
    )


def recognizer(checkpoint: Path | None, *, device: str = "cpu") -> FasterWhisper:
    """The recognizer with the converted folder at `checkpoint`.

    Raises: WeightsError
    """
    if checkpoint is None:
        raise WeightsError(f"faster_whisper needs checkpoints.faster_whisper: the path of its folder; {FIX}")
    return FasterWhisper(checkpoint, device=device)
