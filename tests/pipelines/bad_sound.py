"""Sound files that are bad in every way that we know of, made from good ones; what they are made from is noise."""

import io
import struct
import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE_HZ = 16000


@cache
def good(kind: str, *, seconds: float = 4.0, rate_hz: int = RATE_HZ) -> bytes:
    """Noise that comes and goes: wav, flac, mp3, ogg, opus, aiff, m4a, m4a front, aac, video, silent video."""
    count = round(seconds * rate_hz)
    time_S = np.arange(count) / rate_hz
    noise_S = np.random.default_rng(0).uniform(-0.5, 0.5, count)
    wave_S = (noise_S * (0.5 + 0.5 * np.sin(2 * np.pi * time_S))).astype(np.float32)
    if kind in ("m4a", "m4a front", "video", "silent video", "aac"):
        return in_mp4(wave_S, rate_hz, kind)
    forms = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "mp3": ("MP3", None), "ogg": ("OGG", "VORBIS"),
             "opus": ("OGG", "OPUS"), "aiff": ("AIFF", "PCM_16")}  # fmt: skip
    buffer = io.BytesIO()
    form, subtype = forms[kind]
    with soundfile.SoundFile(buffer, "w", rate_hz, 1, format=form, subtype=subtype) as file:
        for start in range(0, count, rate_hz):
            file.write(wave_S[start : start + rate_hz])
    return buffer.getvalue()


def in_mp4(wave_S: Any, rate_hz: int, kind: str) -> bytes:
    """AAC in MP4, or bare; beside or without a picture; its index at the end, or at the front."""
    import av

    options = {"movflags": "faststart"} if kind == "m4a front" else {}
    with (
        tempfile.TemporaryDirectory() as folder,
        av.open(f"{folder}/x.mp4", "w", format="adts" if kind == "aac" else "mp4", options=options) as container,
    ):
        packets: list[Any] = []
        if kind in ("video", "silent video"):
            picture = container.add_stream("mpeg4", rate=10)
            picture.width, picture.height = 64, 64
            for number in range(10):
                frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                packets += picture.encode(frame)
            packets += picture.encode(None)
        if kind != "silent video":
            stream = container.add_stream("aac", rate=rate_hz, layout="mono")
            frame = av.AudioFrame.from_ndarray(wave_S[None, :], format="fltp", layout="mono")
            frame.rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
            packets += [*stream.encode(frame), *stream.encode(None)]
        for packet in packets:
            container.mux(packet)
        container.close()
        return Path(folder, "x.mp4").read_bytes()


def wav(samples: Any, *, rate_hz: int = RATE_HZ, subtype: str = "FLOAT") -> bytes:
    """A WAVE file of these samples."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype=subtype)
    return buffer.getvalue()


def patched(data: bytes, at: int, form: str, *values: float) -> bytes:
    """The bytes with some of them written over."""
    new = struct.pack(form, *values)
    return data[:at] + new + data[at + len(new) :]


def flipped(data: bytes, *, bits: int = 40, seed: int = 0, skip: int = 400) -> bytes:
    """The bytes with bits turned, behind the header."""
    spoiled = bytearray(data)
    picks = np.random.default_rng(seed)
    for at in picks.integers(min(skip, len(data) // 2), len(data), bits):
        spoiled[at] ^= 1 << int(picks.integers(0, 8))
    return bytes(spoiled)


def scrambled(mp4: bytes) -> bytes:
    """An MP4 whose sound is encrypted: all is there but the key."""
    at = mp4.find(b"mdat") + 4
    size = struct.unpack(">I", mp4[at - 8 : at - 4])[0] - 8
    secret = np.random.default_rng(0).bytes(size)
    return mp4[:at] + bytes(a ^ b for a, b in zip(mp4[at : at + size], secret, strict=True)) + mp4[at + size :]


def without_tag(mp3: bytes) -> bytes:
    """An MP3 without its first frame, which holds the tag that tells its length."""
    from pipelines.reading.endings import frame_of

    frame = frame_of(mp3[:4])
    assert frame is not None
    assert b"Info" in mp3[: frame.size] or b"Xing" in mp3[: frame.size]
    return mp3[frame.size :]


def frame_border(mp3: bytes, share: float) -> int:
    """Where a frame begins, after about a share of an MP3."""
    from pipelines.reading.endings import frame_of

    at = 0
    while at < share * len(mp3):
        frame = frame_of(mp3[at : at + 4])
        assert frame is not None
        at += frame.size
    return at


def tone() -> Any:
    """A second of a tone."""
    return (0.3 * np.sin(2 * np.pi * 300 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)


def wide(data: bytes, channels: int) -> bytes:
    """A WAVE file that says it has so many channels."""
    return patched(patched(data, 22, "<H", channels), 32, "<H", min(channels * 2, 65535))
