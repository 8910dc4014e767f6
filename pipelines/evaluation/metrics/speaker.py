"""Likeness of two voices: the cosine between speaker embeddings of what was made and of what it is held against."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from infra.manifest import Device, Manifest, resolve
from models.frozen import Wave
from pipelines.evaluation.metrics import Column, Score, Utterance, backend


class Comparer(Protocol):
    """A file of models/frozen that compares voices: `embedder` or `verifier(checkpoint, device=)` makes one."""

    RATE_HZ: int

    @property
    def fingerprint(self) -> str:
        """What decides its results."""

    def __call__(self, waves: Sequence[Wave]) -> list[NDArray[np.float32]]:
        """One embedding of unit length a waveform, in order."""


class Config(Manifest):
    backend: str = "resemblyzer"
    """A file of models/frozen. Published tables (SIM) use `wavlm_sv`, whose weights come in no wheel; numbers of two
    backends do not compare."""
    checkpoint: Path | None = None
    """Where its weights lie, where they do not come in a wheel."""
    device: Device = "cpu"

    @field_validator("backend")
    @classmethod
    def known(cls, name: str) -> str:
        """The name of a file in models/frozen that compares voices."""
        module = resolve("models.frozen", name)
        if not hasattr(module, "embedder") and not hasattr(module, "verifier"):
            raise ValueError(f"models/frozen/{name}.py compares no voices")
        return name


def measure(utterances: Sequence[Utterance], cfg: Config) -> list[Column]:
    make = "verifier" if hasattr(resolve("models.frozen", cfg.backend), "verifier") else "embedder"
    network: Comparer = backend(cfg.backend, make, cfg.checkpoint, cfg.device)

    def score(utterance: Utterance) -> Score:
        wave_S, against_S = utterance.at(network.RATE_HZ), utterance.against(network.RATE_HZ)
        if wave_S is None or not len(wave_S):
            return utterance.problem or "missing or empty"
        if against_S is None or not len(against_S):
            return "no voice to compare with"
        first, second = network([wave_S, against_S])
        return float(np.dot(first, second))

    how = f"cosine of {cfg.backend} embeddings at {network.RATE_HZ} Hz ({network.fingerprint}); 1 is the same sound"
    scores = [score(u) for u in utterances]
    return [Column(name="speaker_cosine", scores=scores, better="higher", how=how, by=cfg.backend)]
