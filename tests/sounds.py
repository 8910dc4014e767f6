"""Clips for tests of transforms, recordings as they lie beside the checkout, and what upsamples them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.clip import Clip
from pipelines.row import Segment, Wave

SILENCE = np.zeros(8000, dtype=np.float32)


def clip_of(wave: Wave = SILENCE, rate_hz: int = 16000, **facts: Any) -> Clip:
    """A clip as `segment` makes it, that has only these facts; half a second of silence where no waveform is given."""
    sha256 = hashlib.sha256(wave.tobytes()).hexdigest()
    known = {"recording": "x.wav", "recording_sha256": sha256, "key": sha256[:26], **facts}
    segment = Segment(
        corpus="c", license="", source="", start_sample=0, end_sample=len(wave), rate_hz=rate_hz, channels=1,
        seconds=len(wave) / rate_hz, **known,
    )  # fmt: skip
    return Clip(segment, wave)


def scored(transform: Any, clip: Clip) -> Segment:
    """What the transform makes of one clip."""
    done = transform([clip])[0]
    assert isinstance(done, Clip), done
    return done.segment


def native(path: Path) -> tuple[Wave, int]:
    """A recording at its own rate, channels averaged."""
    import soundfile

    wave, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return np.ascontiguousarray(wave.mean(axis=1)), rate_hz


def rounded(wave: Wave) -> Wave:
    """As a file of 16 bits holds it."""
    return np.asarray(np.round(np.clip(wave, -1, 32767 / 32768) * 32768) / 32768, dtype=np.float32)


def by_soxr(wave: Wave, source_hz: int, rate_hz: int) -> Wave:
    import soxr

    return np.asarray(soxr.resample(wave, source_hz, rate_hz), dtype=np.float32)


def by_scipy_fft(wave: Wave, source_hz: int, rate_hz: int) -> Wave:
    import scipy.signal

    return np.asarray(scipy.signal.resample(wave, len(wave) * rate_hz // source_hz), dtype=np.float32)


def by_scipy_poly(wave: Wave, source_hz: int, rate_hz: int) -> Wave:
    import scipy.signal

    common = int(np.gcd(source_hz, rate_hz))
    return np.asarray(scipy.signal.resample_poly(wave, rate_hz // common, source_hz // common), dtype=np.float32)


def by_torchaudio(wave: Wave, source_hz: int, rate_hz: int) -> Wave:
    import torch
    import torchaudio

    return np.asarray(torchaudio.functional.resample(torch.from_numpy(wave), source_hz, rate_hz).numpy())


def by_lines(wave: Wave, source_hz: int, rate_hz: int) -> Wave:
    at = np.arange(len(wave) * rate_hz // source_hz) * source_hz / rate_hz
    return np.asarray(np.interp(at, np.arange(len(wave)), wave), dtype=np.float32)


RESAMPLERS: dict[str, Callable[[Wave, int, int], Wave]] = {
    "soxr": by_soxr,
    "soxr, 16 bits": lambda wave, source_hz, rate_hz: rounded(by_soxr(wave, source_hz, rate_hz)),
    "soxr, 16 bits, quiet": lambda wave, source_hz, rate_hz: rounded(0.1 * by_soxr(wave, source_hz, rate_hz)),
    "scipy resample": by_scipy_fft,
    "scipy resample_poly": by_scipy_poly,
    "torchaudio sinc": by_torchaudio,
    "linear": by_lines,
}
"""Name -> (waveform, its rate, the new rate) -> waveform: those that corpora were upsampled by."""


def wideband(wave: Wave, *, seed: int) -> Wave:
    """Speech of 16 kHz with its hiss continued up to 24 kHz, falling by 12 dB an octave, at 48 kHz: a control."""
    import scipy.signal

    random = np.random.default_rng(seed)
    low = by_soxr(wave, 16000, 48000).astype(np.float64)
    hiss = scipy.signal.sosfiltfilt(scipy.signal.butter(6, [4000, 7000], "band", fs=48000, output="sos"), low)
    smooth = scipy.signal.butter(2, 60, fs=48000, output="sos")
    envelope = np.sqrt(np.maximum(scipy.signal.sosfiltfilt(smooth, np.square(hiss)), 0))
    hz = np.fft.rfftfreq(len(low), 1 / 48000)
    gain = (7000 / np.maximum(hz, 7000)) ** 2 / (1 + np.exp((7300 - hz) / 150))
    high = np.fft.irfft(np.fft.rfft(random.standard_normal(len(low)) * envelope) * gain, len(low))

    def level(sound: object, start: float, stop: float) -> float:
        band = scipy.signal.butter(4, [start, stop], "band", fs=48000, output="sos")
        return float(np.sqrt(np.mean(np.square(scipy.signal.sosfiltfilt(band, sound)))))

    high *= level(low, 6200, 7200) / max(level(high, 7800, 8800), 1e-9)
    floor = random.standard_normal(len(low)) * 1e-5 * np.abs(low).max()
    return np.asarray(low + high + floor, dtype=np.float32)
