"""Likeness of two voices: the cosine between speaker embeddings of what was made and of what it is held against."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from infra.manifest import Manifest
from pipelines.evaluation.metrics import Column, Score, Utterance


class Config(Manifest):
    backend: Literal["resemblyzer"] = "resemblyzer"
    """Published tables use WavLM-SV, whose weights come in no wheel; numbers of the two do not compare."""


def measure(utterances: Sequence[Utterance], cfg: Config) -> list[Column]:
    from models.frozen.resemblyzer import Resemblyzer

    network = Resemblyzer()

    def score(utterance: Utterance) -> Score:
        wave_S, against_S = utterance.at(network.RATE_HZ), utterance.against(network.RATE_HZ)
        if wave_S is None or not len(wave_S):
            return utterance.problem or "missing or empty"
        if against_S is None or not len(against_S):
            return "no voice to compare with"
        first, second = network([wave_S, against_S])
        return float(np.dot(first, second))

    how = f"cosine of {cfg.backend} embeddings at 16 kHz ({network.fingerprint}); 1 is the same sound, never below 0"
    return [Column(name="speaker_cosine", scores=[score(u) for u in utterances], better="higher", how=how)]
