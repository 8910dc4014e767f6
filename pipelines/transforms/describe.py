"""A sentence about how the clip sounds, from measured pitch, rate and background; no guess at a person."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infra.manifest import Manifest
from pipelines.row import Clip, Rejected, Segment, Wave
from pipelines.transforms import fingerprint_of

SETS = ("description", "pitch_hz")
READS: tuple[str, ...] = ("language", "text", "snr_db")
CHANGES_WAVE = False

RATE_HZ = 16000
FRAME, HOP = 800, 320
NAMES = {"en": "English", "de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "pt": "Portuguese"}
NAMES |= {"zh": "Mandarin", "ja": "Japanese", "ru": "Russian", "nl": "Dutch", "pl": "Polish", "ko": "Korean"}
FEW_CHARACTERS = ("zh", "ja", "ko", "yue")
"""Languages where a written character is about a syllable."""


class Config(Manifest):
    lowest_hz: float = Field(default=65.0, gt=30)
    highest_hz: float = Field(default=420.0, lt=1000)
    voicing: float = Field(default=0.6, gt=0, lt=1)
    """Normalised autocorrelation above which a frame is voiced."""


class Transform:
    """Sets the median pitch of the voiced frames, and the description."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.fingerprint = fingerprint_of(__file__, cfg=cfg)

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> Clip:
        """Pitch first: the sentence uses it."""
        pitch = pitch_hz(clip.at(RATE_HZ), cfg=self.cfg)
        clip = clip.with_(pitch_hz=None if pitch is None else round(pitch, 1))
        return clip.with_(description=sentence(clip.segment))


def pitch_hz(wave_S: Wave, *, cfg: Config) -> float | None:
    """Median pitch by autocorrelation of 50 ms frames (16 kHz); None without voiced frames.

    The autocorrelation is divided by that of the window, as Boersma (1993) has it, or long periods would lose.
    """
    frames = active_frames(wave_S)
    if not len(frames):
        return None
    window = np.hanning(FRAME)
    own = autocorrelation(window[np.newaxis])[0]
    found = autocorrelation((frames - frames.mean(axis=1, keepdims=True)) * window)
    normal = found / np.maximum(found[:, :1], 1e-12) / np.maximum(own / own[0], 1e-3)
    low, high = int(RATE_HZ / cfg.highest_hz), int(RATE_HZ / cfg.lowest_hz)
    part = normal[:, low : high + 1]
    best = part.max(axis=1)
    lags = (part >= 0.92 * best[:, np.newaxis]).argmax(axis=1)
    lags = np.array([climb(row, at=lag) for row, lag in zip(part, lags, strict=True)]) + low
    voiced = best >= cfg.voicing
    return float(np.median(RATE_HZ / lags[voiced])) if voiced.sum() >= 3 else None


def climb(row: NDArray[np.float64], *, at: int) -> int:
    """The top of the hill that `at` lies on, to the right: the first peak, not one at twice its period."""
    while at + 1 < len(row) and row[at + 1] > row[at]:
        at += 1
    return at


def active_frames(wave_S: Wave) -> NDArray[np.float64]:
    """Frames of 50 ms, each 20 ms, within 25 dB of the loudest."""
    if len(wave_S) < FRAME:
        return np.zeros((0, FRAME))
    frames = np.lib.stride_tricks.sliding_window_view(wave_S, FRAME)[::HOP].astype(np.float64)
    energy = np.square(frames).mean(axis=1)
    active: NDArray[np.float64] = frames[(energy >= energy.max() * 10**-2.5) & (energy > 1e-10)]
    return active


def autocorrelation(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row, by FFT, for lags below half a frame."""
    spectrum = np.fft.rfft(frames, n=2 * FRAME, axis=1)
    return np.asarray(np.fft.irfft(np.square(np.abs(spectrum)), axis=1)[:, : FRAME // 2])


def sentence(segment: Segment) -> str:
    """What was measured, in words: "A low voice speaks German, fast, with little background noise."."""
    pitch, language = segment.pitch_hz, segment.language
    tone = "A voice" if pitch is None else f"A {binned(pitch, ((130, 'low'), (185, 'medium'), (9e9, 'high')))} voice"
    parts = [f"{tone} speaks {NAMES.get(language, language)}" if language else f"{tone} speaks"]
    rate = segment.chars_per_second
    if rate is not None:
        slow, fast = (3.5, 5.5) if language in FEW_CHARACTERS else (10.0, 16.0)
        parts.append(binned(rate, ((slow, "slowly"), (fast, "at a medium pace"), (9e9, "fast"))))
    if segment.snr_db is not None:
        steps = (
            (12, "with loud background noise"),
            (25, "with some background noise"),
            (9e9, "with a quiet background"),
        )
        parts.append(binned(segment.snr_db, steps))
    return ", ".join(parts) + "."


def binned(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    """The word of the first step that the value lies below."""
    return next(word for limit, word in steps if value < limit)
