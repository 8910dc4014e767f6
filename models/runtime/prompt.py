"""A recording to imitate, made ready for the networks: read, checked, at their rate, in whole patches."""

from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.audiovae import resample

SHORTEST_SECONDS = 0.1
LONGEST_SECONDS = 60.0
"""Official runs end at 80 s, prompt included, and their makers advise at most 10."""
LOWEST_HZ, HIGHEST_HZ = 4000, 768000
LOUDEST = 8.0
"""Peak in full scales; a float file may be somewhat over 1."""

Sound = str | Path | tuple[NDArray[np.float32], int]
"""A file that libsndfile reads, or samples (channels last) with their rate; whole numbers are scaled by their type."""


class RequestError(ValueError):
    """A request for speech that cannot be met. The message is a sentence: what is wrong, the value, what to do."""


def prompt_wave(sound: Sound, *, to_hz: int = resample.RATE_HZ, patch_samples: int = resample.PATCH_SAMPLES) -> Tensor:
    """The prompt as the networks hear it: mono float32 at their rate, zero-padded to whole patches.

    Shapes: (S,).

    Raises: RequestError for what is not sound, silent, too short, too long, or not finite.
    """
    wave_S, rate_hz = checked_sound(sound)
    return resample.prompt_wave(wave_S, rate_hz, to_hz=to_hz, patch_samples=patch_samples)


def checked_sound(sound: Sound) -> tuple[NDArray[np.float32], int]:
    """The prompt as it was recorded, mono, and its rate: it can stand for the file from then on.

    Raises: as `prompt_wave`.
    """
    wave_S, rate_hz, name = read_sound(sound)
    if not np.isfinite(wave_S).all():
        raise RequestError(f"{name} has samples that are not numbers (NaN or infinite); give a clean recording")
    peak = float(np.abs(wave_S).max(initial=0.0))
    if peak > LOUDEST:
        raise RequestError(
            f"{name} has a peak of {peak:g}, and full scale is 1; samples that were whole numbers are divided by theirs"
        )
    if peak < 1e-4:
        raise RequestError(f"{name} is silent; give a recording of a voice, 2 to 10 seconds long")
    start, end = resample.loud_interval(wave_S)
    seconds = (end - start) / rate_hz
    if seconds < SHORTEST_SECONDS:
        raise RequestError(f"{name} has only {seconds:.2f} s of sound; give 2 to 10 seconds of a voice")
    return wave_S, rate_hz


def read_sound(sound: Sound) -> tuple[NDArray[np.float32], int, str]:
    """Mono samples, their rate, and a name for messages.

    Raises: RequestError.
    """
    if isinstance(sound, tuple):
        if len(sound) != 2 or not isinstance(sound[1], Real) or sound[1] != sound[1] // 1:
            raise RequestError(f"the prompt is a tuple of {len(sound)}; give samples and their rate, a whole number")
        samples, rate_hz = full_scale(as_array(sound[0])), int(sound[1])
        if samples.ndim not in (1, 2):
            raise RequestError(f"the prompt has shape {samples.shape}; give samples, channels last")
        if samples.ndim == 2 and not 0 < samples.shape[1] <= max(1, samples.shape[0]):
            raise RequestError(
                f"the prompt has shape {samples.shape}, which is {samples.shape[1]} channels; give channels last"
            )
        check_extent(len(samples), rate_hz, "the prompt")
        return samples.mean(axis=1) if samples.ndim == 2 else samples, rate_hz, "the prompt"
    import soundfile

    if not isinstance(sound, str | Path):
        raise RequestError(f"the prompt is a {type(sound).__name__}; give a file, or a pair of samples and their rate")
    path = Path(sound)
    if not path.is_file():
        raise RequestError(f"there is no prompt audio at {path}")
    try:
        with soundfile.SoundFile(path) as file:
            check_extent(file.frames, file.samplerate, str(path))
            samples, rate_hz = file.read(dtype="float32", always_2d=True), file.samplerate
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise RequestError(f"{path} cannot be read as sound ({error}); give a wav, flac, ogg or mp3 file") from None
    return np.asarray(samples.mean(axis=1), dtype=np.float32), int(rate_hz), str(path)


def as_array(samples: Any) -> NDArray[Any]:
    """Raises: RequestError for rows of different lengths."""
    try:
        return np.asarray(samples)
    except ValueError as error:
        raise RequestError(f"the prompt's samples are no array ({error}); give samples, channels last") from None


def full_scale(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Samples as float32, full scale 1.

    Raises: RequestError for what are no numbers with a sign.
    """
    if samples.dtype.kind not in "fi":
        raise RequestError(f"the prompt has samples of type {samples.dtype}; give float32 in [-1, 1], or int16")
    scale = -np.iinfo(samples.dtype).min if samples.dtype.kind == "i" else 1  # as libsndfile reads them
    with np.errstate(over="ignore"):  # what is infinite then is refused
        return (samples / scale).astype(np.float32)


def check_extent(frames: int, rate_hz: int, name: str) -> None:
    """Raises: RequestError for a rate that no recording of speech has, or more of it than a prompt may have."""
    if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise RequestError(f"{name} has a rate of {rate_hz} Hz; give a recording at {LOWEST_HZ} Hz or more")
    if frames > LONGEST_SECONDS * rate_hz:
        raise RequestError(
            f"{name} has {frames / rate_hz:.0f} s, and a prompt at most {LONGEST_SECONDS:.0f}; cut 2 to 10 s out of it"
        )
