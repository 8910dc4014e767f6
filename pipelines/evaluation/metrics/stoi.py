"""Short-time objective intelligibility of a reconstruction against its input (Taal et al. 2011, by pystoi)."""

import warnings
from collections.abc import Sequence

from infra.manifest import Manifest
from pipelines.evaluation.metrics import Column, Score, Utterance, pair_at

RATE_HZ = 16000
SHORTEST = 6400
TOO_LITTLE = "too little speech in the input (STOI needs 0.4 s that is not silence)"


class Config(Manifest):
    extended: bool = False
    """ESTOI (Jensen and Taal 2016) instead."""


def measure(utterances: Sequence[Utterance], cfg: Config) -> list[Column]:
    name = "estoi" if cfg.extended else "stoi"
    how = f"{name.upper()} by pystoi at {RATE_HZ} Hz, about 0 to 1; 1 is identity"
    scores = [score(utterance, extended=cfg.extended) for utterance in utterances]
    return [Column(name=name, scores=scores, better="higher", how=how)]


def score(utterance: Utterance, *, extended: bool) -> Score:
    """The STOI of one utterance."""
    from pystoi import stoi

    pair = pair_at(utterance, RATE_HZ)
    if isinstance(pair, str):
        return pair
    wave_S, against_S = pair
    if len(wave_S) < SHORTEST:
        return TOO_LITTLE
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = float(stoi(against_S, wave_S, RATE_HZ, extended=extended))
    if any("STFT frames" in str(warning.message) for warning in caught):
        return TOO_LITTLE
    return value
