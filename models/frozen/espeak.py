"""eSpeak NG: formant speech in a hundred languages, by the library in the espeakng-loader wheel; for test recordings.

The library keeps state between utterances (the second one differs from the first) and seeds its noise by the clock.
Each utterance therefore is spoken by a process of its own, seeded, which runs this file: it must import nothing but the
standard library at its top.
"""

import ctypes
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.frozen import Wave

SYNCHRONOUS = 2
DO_NOT_EXIT = 0x8000
RATE, PITCH, RANGE = 1, 3, 4
BY_CHARACTER, UTF8 = 1, 1


class EspeakError(RuntimeError):
    """The library refused. The message says which call and what it returned."""


@dataclass(frozen=True)
class Utterance:
    """What to say, and how."""

    text: str
    voice: str
    """A language and a variant, such as `de+f2`."""
    words_per_minute: int = 165
    pitch: int = 50
    """0 to 99; 50 is the variant's own."""
    pitch_range: int = 50


class Espeak:
    """Waveforms at 22.05 kHz. The same utterance gives the same bytes, whatever was said before."""

    RATE_HZ = 22050

    def __init__(self) -> None:
        from models.frozen import wheel_file

        self.library = wheel_file("espeakng_loader", "libespeak-ng.so")
        self.data = wheel_file("espeakng_loader", "espeak-ng-data")

    @property
    def fingerprint(self) -> str:
        """Version and library."""
        from models.frozen import fingerprint_of

        return fingerprint_of("espeak", package="espeakng-loader", weights=[self.library])

    def __call__(self, utterances: "list[Utterance]") -> "list[Wave]":
        """One waveform an utterance.

        Raises: EspeakError
        """
        return [self.say(utterance) for utterance in utterances]

    def say(self, utterance: Utterance) -> "Wave":
        """One utterance, in a fresh process (about 50 ms).

        Raises: EspeakError
        """
        import numpy as np

        order = {"library": str(self.library), "data": str(self.data.parent), **asdict(utterance)}
        done = subprocess.run([sys.executable, "-IS", __file__], input=json.dumps(order).encode(), capture_output=True)
        if done.returncode != 0:
            raise EspeakError(f"eSpeak cannot say {utterance}: {done.stderr.decode(errors='replace').strip()}")
        return np.frombuffer(done.stdout, dtype="<i2").astype(np.float32) / np.float32(32768)


def speak(order: dict[str, Any]) -> bytes:
    """Say one order with the library: 16-bit samples. Meant for a process that does nothing else.

    Raises: EspeakError
    """
    library = ctypes.CDLL(order["library"])
    pieces: list[bytes] = []
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

    def collect(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    def call(name: str, *arguments: Any) -> int:
        code = int(getattr(library, name)(*arguments))
        if code < 0 or (code != 0 and name != "espeak_Initialize"):
            raise EspeakError(f"{name} returned {code}")
        return code

    call("espeak_Initialize", SYNCHRONOUS, 0, order["data"].encode(), DO_NOT_EXIT)
    callback = kind(collect)
    library.espeak_SetSynthCallback(callback)
    call("espeak_SetVoiceByName", order["voice"].encode())
    for parameter, key in ((RATE, "words_per_minute"), (PITCH, "pitch"), (RANGE, "pitch_range")):
        call("espeak_SetParameter", parameter, order[key], 0)
    library.espeak_ng_SetRandSeed(1)
    text = order["text"].encode() + b"\0"
    call("espeak_Synth", text, ctypes.c_size_t(len(text)), 0, BY_CHARACTER, 0, UTF8, None, None)
    call("espeak_Synchronize")
    return b"".join(pieces)


if __name__ == "__main__":
    sys.stdout.buffer.write(speak(json.load(sys.stdin)))
