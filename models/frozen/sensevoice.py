"""SenseVoice: a second family for Mandarin, Cantonese, English, Japanese, Korean; from a FunASR folder here."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.frozen import Heard, Wave, WeightsError, fingerprint_of
from models.frozen.funasr import BETWEEN_HAN, SHORTEST, folder_of, load, quiet

FIX = (
    "put a SenseVoiceSmall folder there (config.yaml, model.pt, am.mvn, chn_jpn_yue_eng_ko_spectok.bpe.model), "
    "or route its languages elsewhere"
)
LANGUAGES = ("zh", "yue", "en", "ja", "ko")
TAG = re.compile(r"<\|([^|>]*)\|>")
"""It begins every text with its language, mood, event and form: `<|zh|><|NEUTRAL|><|Speech|><|woitn|>`."""


class SenseVoice:
    """Its encoder reads a clip at once and writes the likeliest token of every frame: no decoder that could loop.

    Without its inverse text normalization, so without marks, and with numbers as they are spoken.
    """

    RATE_HZ = 16000

    def __init__(self, checkpoint: Path, *, device: str = "cpu") -> None:
        """Raises: WeightsError where there is no model folder."""
        self.path = folder_of(checkpoint, what="SenseVoice", fix=FIX)
        self.device = device

    @property
    def fingerprint(self) -> str:
        """Version and all files of the folder."""
        return fingerprint_of("sensevoice", package="funasr", weights=[self.path], itn="no")

    def __call__(self, waves: Sequence[Wave], languages: Sequence[str | None] = ()) -> list[Heard]:
        """One text a waveform (16 kHz), without its tags; their language and `nospeech` are facts of their own."""
        told = languages or [None] * len(waves)
        return [self.transcribe(wave_S, language) for wave_S, language in zip(waves, told, strict=True)]

    def transcribe(self, wave_S: Wave, language: str | None) -> Heard:
        """The text of one waveform; empty for less than 0.2 s."""
        if len(wave_S) < SHORTEST:
            return Heard(text="", language=language)
        told = language if language in LANGUAGES else "auto"
        with quiet():
            found = self._model.generate(
                input=[wave_S.astype(np.float32)], key=["clip"], language=told, use_itn=False, ban_emo_unk=False
            )
        return untagged(str(found[0].get("text", "")) if found else "", told=language)

    @cached_property
    def _model(self) -> Any:
        return load(self.path, kind="SenseVoiceSmall", device=self.device, fix=FIX)


def untagged(text: str, *, told: str | None) -> Heard:
    """The words of a tagged text, and what the tags say."""
    tags = TAG.findall(text)
    language = next((tag for tag in tags if tag in LANGUAGES), told)
    silence = (1.0 if "nospeech" in tags else 0.0) if tags else None
    words = BETWEEN_HAN.sub("", " ".join(TAG.sub(" ", text).split()))
    return Heard(text=words, language=language, no_speech=silence)


def recognizer(checkpoint: Path | None, *, device: str = "cpu") -> SenseVoice:
    """The recognizer with the model folder at `checkpoint`.

    Raises: WeightsError
    """
    if checkpoint is None:
        raise WeightsError(f"sensevoice needs checkpoints.sensevoice: the path of its folder; {FIX}")
    return SenseVoice(checkpoint, device=device)
