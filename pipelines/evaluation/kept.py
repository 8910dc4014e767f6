"""What was spoken already, kept between attempts: an evaluation that was killed goes on where it stopped."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from infra.storage import replacing
from pipelines.evaluation.metrics import Utterance


def keep(folder: Path, utterance: Utterance) -> None:
    """Write down what was made; what could not be made is tried again."""
    if utterance.wave_S is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(place_of(folder, utterance.key)) as stream:
        np.savez(
            stream,
            wave_S=utterance.wave_S,
            rate_hz=utterance.rate_hz,
            finish=utterance.finish or "",
            making_seconds=np.nan if utterance.making_seconds is None else utterance.making_seconds,
        )


def recall(folder: Path, wanting: Utterance) -> Utterance | None:
    """The utterance with what was made of it, if that is there and whole."""
    try:
        with place_of(folder, wanting.key).open("rb") as file, np.load(file, allow_pickle=False) as found:
            seconds = float(found["making_seconds"])
            return replace(
                wanting,
                wave_S=found["wave_S"],
                rate_hz=int(found["rate_hz"]),
                finish=str(found["finish"]) or None,
                making_seconds=None if np.isnan(seconds) else seconds,
            )
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def place_of(folder: Path, key: str) -> Path:
    """Its file: keys may hold anything."""
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
