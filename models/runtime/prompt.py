"""A recording to imitate, made ready for the networks: mono, edges trimmed, 48 kHz, whole patches."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RATE_HZ = 48000
PATCH_SAMPLES = 7680
SHORTEST_SECONDS = 0.1
TRIM_DB = 30.0
TRIM_FRAME, TRIM_HOP = 2048, 512

Sound = str | Path | tuple[NDArray[np.float32], int]
"""A file that libsndfile reads, or samples (channels last) with their rate."""


class RequestError(ValueError):
    """A request for speech that cannot be met. The message is a sentence: what is wrong, the value, what to do."""


def prompt_wave(sound: Sound) -> Tensor:
    """The prompt as the networks hear it: mono float32 at 48 kHz, zero-padded to a multiple of 7680 samples.

    Shapes: (S,). Trimming comes before resampling, as in the official front end (which uses the same numbers).

    Raises: RequestError for what is not sound, silent, too short, or not finite.
    """
    wave_S, rate_hz, name = read_sound(sound)
    if not np.isfinite(wave_S).all():
        raise RequestError(f"{name} has samples that are not numbers (NaN or infinite); give a clean recording")
    if wave_S.size == 0 or float(np.abs(wave_S).max()) < 1e-4:
        raise RequestError(f"{name} is silent; give a recording of a voice, 2 to 10 seconds long")
    start, end = trim_edges(wave_S)
    seconds = (end - start) / rate_hz
    if seconds < SHORTEST_SECONDS:
        raise RequestError(f"{name} has only {seconds:.2f} s of sound; give 2 to 10 seconds of a voice")
    return to_patches(resample(torch.from_numpy(wave_S[start:end].copy()), from_hz=rate_hz))


def read_sound(sound: Sound) -> tuple[NDArray[np.float32], int, str]:
    """Mono samples, their rate, and a name for messages."""
    if isinstance(sound, tuple):
        samples, rate_hz = np.asarray(sound[0], dtype=np.float32), int(sound[1])
        if samples.ndim not in (1, 2) or rate_hz <= 0:
            raise RequestError(
                f"the prompt has shape {samples.shape} at {rate_hz} Hz; give samples, or (samples, channels)"
            )
        return samples.mean(axis=1) if samples.ndim == 2 else samples, rate_hz, "the prompt"
    import soundfile

    path = Path(sound)
    if not path.is_file():
        raise RequestError(f"there is no prompt audio at {path}")
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise RequestError(f"{path} cannot be read as sound ({error}); give a wav, flac, ogg or mp3 file") from None
    return np.asarray(samples.mean(axis=1), dtype=np.float32), int(rate_hz), str(path)


def trim_edges(wave_S: NDArray[np.float32]) -> tuple[int, int]:
    """Where sound starts and ends: frames of 2048 (hop 512) within 30 dB of the loudest; librosa.effects.trim's rule."""
    padded = np.pad(wave_S.astype(np.float64), TRIM_FRAME // 2)
    power = np.concatenate([[0.0], np.cumsum(np.square(padded))])
    starts = np.arange(0, len(padded) - TRIM_FRAME + 1, TRIM_HOP)
    mean_square = np.maximum((power[starts + TRIM_FRAME] - power[starts]) / TRIM_FRAME, 1e-10)
    loud = np.flatnonzero(10 * np.log10(mean_square / mean_square.max()) > -TRIM_DB)
    return int(loud[0]) * TRIM_HOP, min(len(wave_S), (int(loud[-1]) + 1) * TRIM_HOP)


def resample(wave_S: Tensor, *, from_hz: int, to_hz: int = RATE_HZ) -> Tensor:
    """Kaiser-windowed sinc, 64 zero crossings, roll-off 0.95: what released checkpoints were given."""
    if from_hz == to_hz:
        return wave_S
    from torchaudio import functional

    resampled: Tensor = functional.resample(
        wave_S, from_hz, to_hz, lowpass_filter_width=64, rolloff=0.95, resampling_method="sinc_interp_kaiser"
    )
    return resampled


def to_patches(wave_S: Tensor) -> Tensor:
    """Zeros at the end, to a multiple of 7680 samples."""
    return torch.nn.functional.pad(wave_S, (0, -len(wave_S) % PATCH_SAMPLES))
