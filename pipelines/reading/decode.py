"""From a file to its samples: libsndfile, and FFmpeg for what that does not read; neither opens anything else."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.reading.endings import Ending, ending_of, id3_bytes

BLOCK_VALUES = 1 << 20
"""Values (frames times channels) decoded at a time, so that many channels do not mean much memory."""
MOST_SEEKS = 500_000
"""Of FFmpeg in one file: sound that is interleaved with a picture takes some for every second."""
MOST_TO_OPEN = 1 << 26
"""Bytes that FFmpeg may read before it says what is in a file: where an MP3 has no frame, it would keep all of it."""
OPUS_HZ = 48000
"""Where FFmpeg reads Opus, it is at this rate."""
LONGEST_ID3 = 1 << 22
"""Bytes of a tag before the sound that FFmpeg is given: one of 16 MB made it take 480 MB of memory."""
FORMATS = (
    "aac ac3 aiff amr ape asf au avi caf dts eac3 flac flv matroska,webm mov,mp4,m4a,3gp,3g2,mj2 mp3 mpeg mpegts ogg "
    "rm tak tta voc w64 wav wv"
)
"""What FFmpeg may take a file for. Not among them: playlists and scripts, which lead to other files and to URLs."""

GUESSED = ("aac", "ac3", "amr", "dts", "eac3", "mp3")
"""Bare streams: FFmpeg takes their duration from their size and the bitrate of the first frames, and may be wrong."""
INDEXED = "mov,mp4,m4a,3gp,3g2,mj2"
"""Containers that tell the time of every packet to the sample (Matroska: to the millisecond): an interval late in a
file need not decode all that is before it."""
PREROLL_SECONDS = 1.0
"""Decoded before what is wanted: codecs go on from what they heard last (Opus asks for 0.08 s)."""


class BadAudio(Exception):  # noqa: N818 - it is the audio that is bad
    """Why a file cannot be used: `failed:decode: ...`, `failed:empty: ...`."""


@dataclass
class Source:
    """An opened file: what it declares, and its samples in blocks."""

    rate_hz: int
    channels: int
    declared_samples: int | None
    open_end: str | None
    """Why it must have been cut, where that is plain."""
    blocks: Callable[[int], tuple[int, Iterator[NDArray[np.float32]]]]
    """Given the first sample that is wanted: where the blocks begin, and the blocks, each [samples, channels]."""


@contextmanager
def opened(file: BinaryIO) -> Iterator[Source]:
    """The sound in `file`, by libsndfile or, where that does not know it, by FFmpeg.

    Raises: BadAudio, also from the blocks.
    """
    import soundfile

    if not file.seek(0, 2):
        raise BadAudio("failed:empty: no bytes in it")
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, ValueError) as refused:
        why = getattr(refused, "error_string", str(refused))
        with by_ffmpeg(file, ending_of(file, rate_hz=OPUS_HZ), why=why) as source:
            yield source
        return
    with sound:
        place = file.tell()
        ending = ending_of(file, rate_hz=sound.samplerate)
        file.seek(place)
        if sound.format in ("MP3", "MPEG") and not ending.tagged:
            # without a tag libsndfile takes the bitrate of the first frame for that of all, and stops there
            with by_ffmpeg(file, ending, why="there is no tag") as source:
                yield source
            return
        declared = max(sound.frames, ending.samples or 0)
        blocks = lambda begin: blocks_of(sound, begin)  # noqa: E731
        yield Source(sound.samplerate, sound.channels, declared, ending.open_end, blocks)


def blocks_of(sound: Any, begin: int) -> tuple[int, Iterator[NDArray[np.float32]]]:
    """The samples of a file that libsndfile has opened, from `begin` on where it can seek."""
    import soundfile

    size = max(BLOCK_VALUES // max(sound.channels, 1), 1)
    start = 0
    if begin and sound.seekable():
        try:
            start = int(sound.seek(min(begin, sound.frames)))
        except soundfile.LibsndfileError as error:
            raise BadAudio(f"failed:decode: {said(error)}") from None

    def blocks() -> Iterator[NDArray[np.float32]]:
        while True:
            try:
                block = sound.read(size, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise BadAudio(f"failed:decode: {said(error)}") from None
            if not len(block):
                return
            yield block

    return start, blocks()


@contextmanager
def by_ffmpeg(file: BinaryIO, ending: Ending, *, why: str) -> Iterator[Source]:
    """The first audio stream of the file; `why` is what libsndfile said of it."""
    import av

    watched = Watched(file)
    head = file.read(10)
    if head[:3] == b"ID3" and len(head) == 10 and id3_bytes(head) > LONGEST_ID3:
        raise BadAudio(
            f"failed:decode: libsndfile does not read it ({why}), and its ID3 tag has {id3_bytes(head)} bytes"
        )
    file.seek(0)
    guards = {"format_whitelist": ",".join(FORMATS.split()), "protocol_whitelist": "none"}
    try:
        container = av.open(watched, mode="r", container_options=guards, io_open=nothing_else)
    except (av.FFmpegError, ValueError, EOFError, OSError) as error:
        reason = watched.fault() or said(error)
        raise BadAudio(f"failed:decode: neither libsndfile ({why}) nor FFmpeg ({reason}) can read it") from None
    with container:
        if watched.fault():
            raise BadAudio(f"failed:decode: {watched.fault()}")
        watched.opening = False
        if not container.streams.audio:
            raise BadAudio("failed:decode: there is no audio stream in it")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise BadAudio("failed:decode: FFmpeg has no decoder for its audio, which may be encrypted")
        rate_hz, channels = stream.rate or 0, stream.channels or 0
        seconds = None
        if container.format.name not in GUESSED:
            seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
            if seconds is None and container.duration and len(container.streams) == 1:
                seconds = container.duration / 1e6
        declared = ending.samples or (None if seconds is None else round(seconds * rate_hz))
        strict = declared is None and ending.open_end is None
        blocks = lambda begin: blocks_near(container, stream, begin, strict=strict)  # noqa: E731
        yield Source(rate_hz, channels, declared, ending.open_end, blocks)


class Watched:
    """A file for FFmpeg that ends where FFmpeg leaps about in it for ever (chunks of no length take hours to skip), or
    reads on and on to find out what it is."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.seeks = self.bytes = 0
        self.opening = True
        file.seek(0)

    def read(self, size: int) -> bytes:
        """Nothing more after MOST_SEEKS, and MOST_TO_OPEN."""
        if self.fault():
            return b""
        data = self.file.read(size)
        self.bytes += len(data) if self.opening else 0
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Counted."""
        self.seeks += 1
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def fault(self) -> str:
        """What is wrong, if it is."""
        if self.bytes > MOST_TO_OPEN:
            return f"what is in it cannot be told by its first {MOST_TO_OPEN >> 20} MB"
        return f"it takes more than {MOST_SEEKS} leaps to read" if self.seeks > MOST_SEEKS else ""


def nothing_else(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    """What FFmpeg is told when a file wants it to open another one.

    Raises: PermissionError
    """
    raise PermissionError(f"a recording may not open {url}")


def blocks_near(container: Any, stream: Any, begin: int, *, strict: bool) -> tuple[int, Iterator[NDArray[np.float32]]]:
    """The samples of a stream that FFmpeg has opened, from a little before `begin` on where it can be told where that
    is, else from its start; and where they begin."""
    import av

    wanted = begin / stream.rate - PREROLL_SECONDS if stream.rate else 0.0
    if wanted > 0 and container.format.name == INDEXED and stream.time_base * stream.rate <= 1:
        start = float((stream.start_time or 0) * stream.time_base)
        try:
            container.seek(round((wanted + start) / stream.time_base), stream=stream)
            frames = frames_of(container, stream, strict=strict)
            first = next(frames, None)
            if first is not None and first.pts is not None:
                at = round((float(first.pts * first.time_base) - start) * stream.rate)
                if 0 <= at <= begin:
                    return at, samples_of(chain((first,), frames), stream)
            container.seek(0, stream=stream)
        except av.FFmpegError as error:
            raise BadAudio(f"failed:decode: {said(error)}") from None
    return 0, samples_of(frames_of(container, stream, strict=strict), stream)


def frames_of(container: Any, stream: Any, *, strict: bool) -> Iterator[Any]:
    """What FFmpeg decodes. Packets that make no sense are left out unless `strict`."""
    import av

    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except av.InvalidDataError:
            if strict:
                raise
            continue
        yield from decoded


def samples_of(frames: Iterable[Any], stream: Any) -> Iterator[NDArray[np.float32]]:
    """The samples of frames, each block [samples, channels].

    Raises: BadAudio
    """
    import av

    resampler = av.AudioResampler(format="flt", layout=stream.layout, rate=stream.rate)
    channels = stream.channels
    try:
        for frame in frames:
            for piece in resampler.resample(frame):
                yield piece.to_ndarray().reshape(-1, channels)
        for piece in resampler.resample(None):
            yield piece.to_ndarray().reshape(-1, channels)
    except (av.FFmpegError, ValueError, EOFError) as error:
        raise BadAudio(f"failed:decode: {said(error)}") from None


def said(error: BaseException) -> str:
    """What a library says, without where it read from."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).removeprefix("Error : ").split())[:200]
