"""Sounds made from nothing, and what is done to sounds: noise, chords, mixing, clipping, a telephone's band."""

from collections.abc import Sequence

import numpy as np

from pipelines.row import Wave

CHORDS = ((57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62))
"""A minor, F, C, G: notes as MIDI numbers."""
NOTE_SECONDS = 0.3


def noise(seconds: float, *, rate_hz: int, random: np.random.Generator) -> Wave:
    """Noise that falls by 3 dB an octave, as rooms and streets do, with a peak of 1."""
    count = round(seconds * rate_hz)
    spectrum = np.fft.rfft(random.standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / rate_hz)
    wave_S = np.fft.irfft(spectrum / np.sqrt(np.maximum(hz, 40.0)), n=count)
    return np.asarray(wave_S / np.abs(wave_S).max(), dtype=np.float32)


def music(seconds: float, *, rate_hz: int, random: np.random.Generator) -> Wave:
    """Plucked notes out of four chords over their basses, with a peak of 1."""
    wave_S = np.zeros(round(seconds * rate_hz) + 2 * rate_hz)
    for step in range(int(seconds / NOTE_SECONDS)):
        chord = CHORDS[(step // 8) % len(CHORDS)]
        notes = [int(random.choice(chord)) + 12 * int(random.integers(0, 2))]
        if step % 4 == 0:
            notes.append(chord[0] - 12)
        for note in notes:
            tone = plucked(note, rate_hz=rate_hz)
            start = round(step * NOTE_SECONDS * rate_hz)
            wave_S[start : start + len(tone)] += tone
    wave_S = wave_S[: round(seconds * rate_hz)]
    return np.asarray(wave_S / np.abs(wave_S).max(), dtype=np.float32)


def plucked(note: int, *, rate_hz: int) -> Wave:
    """One note of 1.5 s: eight partials, the higher the shorter."""
    at_S = np.arange(round(1.5 * rate_hz)) / rate_hz
    hz = 440.0 * 2 ** ((note - 69) / 12)
    partials = [np.sin(2 * np.pi * hz * k * at_S) * np.exp(-at_S * (2.0 + k)) / k for k in range(1, 9)]
    return np.asarray(np.sum(partials, axis=0), dtype=np.float32)


def mixed(speech_S: Wave, background_S: Wave, *, snr_db: float) -> Wave:
    """Speech over a background, `snr_db` below its mean power."""
    power = float(np.mean(np.square(speech_S, dtype=np.float64)))
    other = float(np.mean(np.square(background_S, dtype=np.float64)))
    gain = np.sqrt(power / other * 10 ** (-snr_db / 10))
    wave_S = speech_S + np.float32(gain) * background_S[: len(speech_S)]
    return np.asarray(wave_S / max(1.0, float(np.abs(wave_S).max()) / 0.9), dtype=np.float32)


def clipped(wave_S: Wave, *, gain: float) -> Wave:
    """Recorded far too loud."""
    return np.asarray(np.clip(wave_S * np.float32(gain), -0.999, 0.999), dtype=np.float32)


def narrowed(wave_S: Wave, *, rate_hz: int, to_hz: int) -> Wave:
    """Through a telephone (8 kHz), then stored at a rate that promises more."""
    import soxr

    return np.asarray(soxr.resample(soxr.resample(wave_S, rate_hz, 8000), 8000, to_hz), dtype=np.float32)


def joined(parts: Sequence[Wave], *, gap_seconds: float, rate_hz: int, ends: bool = True) -> Wave:
    """One after another, with silences between, and at both ends if wanted."""
    gap_S = np.zeros(round(gap_seconds * rate_hz), dtype=np.float32)
    pieces = [gap_S] if ends else []
    for number, part in enumerate(parts):
        pieces += [part] if number == 0 else [gap_S, part]
    whole_S: Wave = np.concatenate([*pieces, gap_S] if ends else pieces)
    return whole_S
