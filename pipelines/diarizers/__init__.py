"""Ways to find out who speaks when, one file each: `diarizer(cfg)` makes a function of a waveform at 16 kHz.

What one call gets is bounded (transforms/diarize.py). No Ray, no file is written, networks load on the first call.
"""

from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field, field_validator

from infra.manifest import resolve
from models.frozen import Wave
from pipelines.hearing.embedders import EmbedderConfig
from pipelines.hearing.voices import Spoken


class Diarizer(Protocol):
    """What a file of pipelines/diarizers makes."""

    @property
    def fingerprint(self) -> str:
        """What decides its results, its own code included."""

    def __call__(self, wave_S: Wave) -> Spoken | None:
        """Who speaks in each frame of 10 ms of a waveform at 16 kHz; None where nobody does."""


class DiarizerConfig(EmbedderConfig):
    """The settings of all diarizers."""

    backend: str = "windows"
    """A file of pipelines/diarizers."""
    segmentation: Path | None = None
    """Tensors of pyannote's segmentation; None for the released ones in the wheel."""
    vad: Path | None = None
    """The model folder of FSMN-VAD, where the backend is `fsmn`."""
    onset: float = Field(default=0.5, gt=0, lt=1)
    offset: float = Field(default=0.35, gt=0, lt=1)
    """Speech begins where its probability reaches `onset` and ends where it falls below `offset`."""
    clustering: Literal["linkage", "spectral"] = "linkage"
    """How groups begin, before those that are too alike join. Linkage made fewer errors on joined LibriSpeech turns."""
    max_voices: int = Field(default=15, ge=1)

    @field_validator("backend")
    @classmethod
    def known_backend(cls, name: str) -> str:
        """The name of a file in pipelines/diarizers."""
        resolve("pipelines.diarizers", name)
        return name


def diarizer_of(cfg: DiarizerConfig) -> Diarizer:
    """The diarizer that the settings name.

    Raises: WeightsError when weights are not there.
    """
    made: Diarizer = resolve("pipelines.diarizers", cfg.backend).diarizer(cfg)
    return made
