"""Recordings with known speakers made of LibriSpeech clips, and the error of who is said to speak when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipelines.clip import Decoded, Turn
from pipelines.row import Recording, Wave

STEP_SECONDS = 0.01
RATE_HZ = 16000


@dataclass(frozen=True)
class Spoken:
    """One clip and who speaks in it."""

    speaker: str
    name: str
    wave: Wave


@dataclass(frozen=True)
class Error:
    """Seconds of speech missed, of none taken for speech, of one voice taken for another; and of all speech."""

    missed: float
    false: float
    confused: float
    total: float

    def __add__(self, other: "Error") -> "Error":
        return Error(
            self.missed + other.missed,
            self.false + other.false,
            self.confused + other.confused,
            self.total + other.total,
        )

    @property
    def rate(self) -> float:
        """The diarization error rate."""
        return (self.missed + self.false + self.confused) / max(self.total, 1e-9)


def librispeech(audio: Path, *, folders: Sequence[str] = ("libri_other", "libri_clean100")) -> list[Spoken]:
    """All clips (16 kHz), in order of name."""
    paths = [path for folder in folders for path in sorted((audio / folder).glob("*.flac"))]
    return [Spoken(path.stem.split("-")[0], path.stem, soundfile.read(path, dtype="float32")[0]) for path in paths]


def turns(
    clips: Sequence[Spoken], *, random: np.random.Generator, voices: int, count: int, gap_seconds: tuple[float, float]
) -> tuple[Wave, tuple[Turn, ...]]:
    """Whole clips of so many speakers without the silence at their ends, nobody twice in a row; and who speaks when."""
    names = sorted({clip.speaker for clip in clips})
    cast = [str(name) for name in random.choice(names, voices, replace=False)]
    order = list(cast)
    while len(order) < count:
        order.append(str(random.choice([name for name in cast if name != order[-1]])))
    pieces, found, at = [], [], 0
    for speaker in order:
        mine = [clip for clip in clips if clip.speaker == speaker]
        wave_S = without_silent_ends(mine[int(random.integers(len(mine)))].wave)
        found.append(Turn(at / RATE_HZ, (at + len(wave_S)) / RATE_HZ, speaker))
        gap_S = np.zeros(round(random.uniform(*gap_seconds) * RATE_HZ), dtype=np.float32)
        pieces += [wave_S, gap_S]
        at += len(wave_S) + len(gap_S)
    return np.concatenate(pieces), tuple(found)


def without_silent_ends(wave_S: Wave) -> Wave:
    """From the first to the last 25 ms that are within 30 dB of the loudest."""
    power_S = np.convolve(np.square(wave_S), np.ones(400, np.float32) / 400, mode="same")
    loud = np.flatnonzero(power_S > power_S.max() * 1e-3)
    return wave_S[loud[0] : loud[-1] + 1]


def decoded(wave_S: Wave, *, rate_hz: int = RATE_HZ) -> Decoded:
    """As `probe` makes it."""
    return Decoded(Recording(uri="x.wav", name="x.wav", bytes=1, sha256="0" * 64), wave_S, rate_hz, 1)


def error(truth: Iterable[Turn], found: Iterable[Turn], *, seconds: float, collar_seconds: float = 0.25) -> Error:
    """As NIST and pyannote.metrics: voices matched so that they agree most, overlap scored, collars left out.

    `collar_seconds` on each side of every boundary of the truth.
    """
    from scipy.optimize import linear_sum_assignment

    truth, found = list(truth), list(found)
    frames = round(seconds / STEP_SECONDS)
    scored_F = np.ones(frames, dtype=bool)
    for turn in truth:
        for edge in (turn.start_seconds, turn.end_seconds):
            first, last = ((edge + side * collar_seconds) / STEP_SECONDS for side in (-1, 1))
            scored_F[max(0, round(first)) : round(last)] = False
    truth_FV, found_FV = (on_grid(turns, frames=frames)[scored_F] for turns in (truth, found))
    together = truth_FV.T.astype(np.int64) @ found_FV.astype(np.int64)
    rows, columns = linear_sum_assignment(-together)
    said_F, heard_F = truth_FV.sum(axis=1), found_FV.sum(axis=1)
    right = int(together[rows, columns].sum())
    counts = (
        np.maximum(said_F - heard_F, 0).sum(),
        np.maximum(heard_F - said_F, 0).sum(),
        np.minimum(said_F, heard_F).sum() - right,
        said_F.sum(),
    )
    return Error(*(float(count) * STEP_SECONDS for count in counts))


def on_grid(turns: Sequence[Turn], *, frames: int) -> NDArray[np.bool_]:
    """(frames, voices); one silent voice where there are none."""
    names = sorted({turn.voice for turn in turns}) or [""]
    active_FV = np.zeros((frames, len(names)), dtype=bool)
    for turn in turns:
        first, last = round(turn.start_seconds / STEP_SECONDS), round(turn.end_seconds / STEP_SECONDS)
        active_FV[first:last, names.index(turn.voice)] = True
    return active_FV


def rttm(path: Path) -> dict[str, list[Turn]]:
    """Recording -> turns, of an RTTM file."""
    found: dict[str, list[Turn]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields and fields[0] == "SPEAKER":
            start, length = float(fields[3]), float(fields[4])
            found.setdefault(fields[1], []).append(Turn(start, start + length, fields[7]))
    return found


def equal_error_rate(same: NDArray[np.float64], different: NDArray[np.float64]) -> float:
    """Where as many of the same are refused as of the different are accepted."""
    thresholds = np.unique(np.concatenate([same, different]))
    refused = np.searchsorted(np.sort(same), thresholds) / len(same)
    accepted = 1 - np.searchsorted(np.sort(different), thresholds) / len(different)
    at = int(np.abs(refused - accepted).argmin())
    return float(max(refused[at], accepted[at]))
