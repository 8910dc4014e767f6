"""The files of a sample in its shard, as bytes and back: `.flac`, `.json`, and arrays as `.<name>.npy`."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.manifest import canonical
from pipelines.clip import whole_samples
from pipelines.row import NAMES, Wave

SPK = "spk"
"""The array that is the x-vector of the row."""
NULL_BYTES = len('"":null,')
EMPTY_BYTES = sum(len(name) + NULL_BYTES for name in NAMES)
"""Of the fields of a segment, in a record, if none had a value."""
MOST_FRAMES = 2**27
"""46 minutes at 48 kHz, half a gigabyte: a FLAC that says to be longer is no sample, and may be a bomb."""


def record_of(row: Mapping[str, Any], *, tier: str) -> bytes:
    """`<key>.json`: the row of a segment, canonical, without the x-vector (that is in the index)."""
    return canonical({**row, "xvector": None, "tier": tier}).encode()


def record_bytes(row: Mapping[str, Any], *, tier: str) -> int:
    """Length of `record_of` of a whole row; this one may leave out what has no value, and what is no field of a segment
    is left out.

    Only what has a value is written for it; of the rest, the names are counted.
    """
    told = {name: value for name in NAMES if name != "xvector" and (value := row.get(name)) is not None}
    empty = EMPTY_BYTES - sum(len(name) + NULL_BYTES for name in told)
    return empty + len(canonical({**told, "tier": tier}).encode())


def flac_of(wave_S: Wave, *, rate_hz: int) -> bytes:
    """`<key>.flac`, 16 bits; exact for a 16-bit source, clipped at full scale, the same bytes every time."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, whole_samples(wave_S).astype(np.int16), rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def npy_of(array: NDArray[Any]) -> bytes:
    """`<key>.<name>.npy`: numbers only, never pickled."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def wave_in(flac: memoryview) -> tuple[Wave, int]:
    """The waveform of a FLAC, and its rate in Hz.

    Raises: ValueError where it is none, has several channels, or claims to be longer than any sample.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(flac)) as file:
            if file.channels != 1 or file.frames > MOST_FRAMES:
                raise ValueError(f"its FLAC claims {file.frames} samples in {file.channels} channels")
            return file.read(dtype="float32"), int(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise ValueError(str(error)) from None


def array_in(members: Mapping[str, memoryview], name: str, *, ndim: int) -> NDArray[Any] | None:
    """The array of floats in `<key>.<name>.npy`; None where there is no such file. Nothing is unpickled.

    Raises: ValueError
    """
    if f"{name}.npy" not in members:
        return None
    data = io.BytesIO(members[f"{name}.npy"])
    array: NDArray[Any] = np.lib.format.read_array(data, allow_pickle=False)
    if array.ndim != ndim or array.dtype.kind != "f":
        raise ValueError(f"{name}.npy has shape {array.shape} of {array.dtype}")
    return array
