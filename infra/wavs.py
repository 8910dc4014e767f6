"""A wav file of speech: where it may lie, and how it is written."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


def refuse_place(out: Path) -> None:
    """Only a regular file is replaced, in a folder that can be written to; a link is followed.

    Raises: Refused.
    """
    from infra.storage import require_place
    from infra.workflow.node import Refused

    real = Path(os.path.realpath(out))
    for wrong, what in (
        (os.path.isdir(real), "is a folder"),
        (os.path.islink(real), "is a link that leads to itself"),
        (os.path.exists(real) and not os.path.isfile(real), "is a device, a pipe or a socket"),
        (not os.path.isdir(real.parent), "lies in a folder that does not exist"),
    ):
        if wrong:
            raise Refused(f"--out {out} {what}; name a wav file in a folder that exists, or `-` for stdout")
    require_place(real, what=f"--out {out}")


def keep(wave: "Tensor", rate_hz: int, out: Path) -> None:
    """Write the wav, whole or not at all; a link is followed."""
    from infra.storage import write_atomic

    write_atomic(Path(os.path.realpath(out)), wav_bytes(wave, rate_hz))


def wav_bytes(wave: "Tensor", rate_hz: int) -> bytes:
    """A 16-bit wav file."""
    return wav_of(samples_16(wave), rate_hz)


def wav_of(wave: "NDArray[Any]", rate_hz: int) -> bytes:
    """The samples as a 16-bit wav file. In memory: what refuses to be written is then an OSError, as of every file."""
    import soundfile

    held = io.BytesIO()
    soundfile.write(held, wave, rate_hz, format="WAV", subtype="PCM_16")
    return held.getvalue()


def samples_16(wave: "Tensor") -> "NDArray[np.int16]":
    """16-bit samples."""
    import numpy as np

    return np.asarray((wave * 32767).round().numpy().astype("<i2"))
