"""Decode a recording, whatever its codec, and refuse what is empty, damaged, silent, or too much."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infra.manifest import Manifest
from infra.storage import file_digest
from pipelines.row import Decoded, Recording, Unusable, Wave

BLOCK_VALUES = 1 << 20
"""Values (frames times channels) decoded at a time, so that many channels do not mean much memory."""


class Config(Manifest):
    max_minutes: float = Field(default=120, gt=0)
    """Of a recording; bounds the memory of a worker, also against files that unpack to a thousand times their size."""
    min_rate_hz: int = 4000
    max_rate_hz: int = 384000
    keep_rate_hz: int = 48000
    """Higher rates are resampled to this one; lower ones stay as they are."""
    max_channels: int = 32
    silence_dbfs: float = -60
    """A recording whose peak is below is silent."""
    max_missing_share: float = Field(default=0.02, ge=0, le=1)
    """How much shorter than declared a recording may decode: encoders' delays are, truncated files are not."""
    max_missing_seconds: float = 0.25
    """Shorter by less is never truncated."""


class BadAudio(Exception):  # noqa: N818 - it is the audio that is bad
    """Why a file cannot be used: `decode: ...`, `empty: ...`."""


@dataclass
class Source:
    """An opened file: what it declares, and its samples in blocks."""

    rate_hz: int
    channels: int
    declared_samples: int | None
    blocks: Iterator[NDArray[np.float32]]
    """Each [samples, channels]."""


class Transform:
    """Recordings to waveforms; one bad file is one `Unusable`, whatever is wrong with it."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def __call__(self, recordings: Sequence[Recording]) -> list[Decoded | Unusable]:
        return [self.decode(recording) for recording in recordings]

    def decode(self, recording: Recording) -> Decoded | Unusable:
        """Mono float32 at the native rate, no higher than `keep_rate_hz`; or why not."""
        try:
            digest = file_digest(Path(recording.uri))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            return Unusable(recording=recording, reason=f"failed:unreadable: {why.lower()}", seconds=0.0)
        if recording.sha256 not in (None, digest):
            return Unusable(
                recording=recording, reason="failed:changed: not the bytes that were cataloged", seconds=0.0
            )
        recording = replace(recording, sha256=digest)
        seconds = 0.0
        try:
            with opened(Path(recording.uri)) as source:
                self.check_header(source)
                seconds = self.declared_seconds(source, recording)
                wave_S, offset = self.read(source, recording)
                seconds = len(wave_S) / source.rate_hz
                self.check(wave_S, source, recording)
                decoded = Decoded(recording, wave_S, source.rate_hz, source.channels, offset)
        except BadAudio as error:
            return Unusable(recording=recording, reason=str(error), seconds=seconds)
        return self.at_kept_rate(decoded)

    def check_header(self, source: Source) -> None:
        """Raises: BadAudio for rates and channel counts that no recording of speech has."""
        cfg = self.cfg
        if not cfg.min_rate_hz <= source.rate_hz <= cfg.max_rate_hz:
            allowed = f"{cfg.min_rate_hz} to {cfg.max_rate_hz}"
            raise BadAudio(f"failed:rate: {source.rate_hz} Hz is outside of {allowed} Hz")
        if not 1 <= source.channels <= cfg.max_channels:
            raise BadAudio(f"failed:channels: {source.channels}, but at most {cfg.max_channels} are read")

    def declared_seconds(self, source: Source, recording: Recording) -> float:
        """Duration by the header, for the account of a recording that then fails; headers lie, so not without bound."""
        begin = recording.start_seconds or 0.0
        end = recording.end_seconds or (source.declared_samples or 0) / source.rate_hz
        return min(max(end - begin, 0.0), self.cfg.max_minutes * 60)

    def read(self, source: Source, recording: Recording) -> tuple[Wave, int]:
        """Channels averaged, block by block; the interval alone, where the recording is one. Also where it begins.

        Raises: BadAudio
        """
        begin = round((recording.start_seconds or 0.0) * source.rate_hz)
        end = None if recording.end_seconds is None else round(recording.end_seconds * source.rate_hz)
        most = round(self.cfg.max_minutes * 60 * source.rate_hz)
        parts, at, taken = [], 0, 0
        for block in source.blocks:
            piece = block[max(begin - at, 0) : None if end is None else max(end - at, 0)]
            at += len(block)
            if len(piece):
                parts.append(np.ascontiguousarray(piece.mean(axis=1, dtype=np.float32)))
                taken += len(piece)
            if taken > most:
                raise BadAudio(f"failed:too_long: over {self.cfg.max_minutes:g} minutes; cut it, or raise max_minutes")
            if end is not None and at >= end:
                source.declared_samples = None
                break
        return (np.concatenate(parts) if parts else np.zeros(0, np.float32)), begin

    def check(self, wave_S: Wave, source: Source, recording: Recording) -> None:
        """Raises: BadAudio for what decodes, but is not a recording."""
        if not len(wave_S):
            raise BadAudio("failed:empty: no samples in it")
        if not np.isfinite(wave_S).all():
            raise BadAudio(f"failed:not_finite: {int((~np.isfinite(wave_S)).sum())} samples are NaN or infinite")
        begin = round((recording.start_seconds or 0.0) * source.rate_hz)
        missing = (source.declared_samples or 0) - begin - len(wave_S)
        declared = missing + len(wave_S)
        too_few = max(self.cfg.max_missing_share * declared, self.cfg.max_missing_seconds * source.rate_hz)
        if missing > too_few:
            declared_s, found_s = declared / source.rate_hz, len(wave_S) / source.rate_hz
            raise BadAudio(f"failed:truncated: declares {declared_s:.2f} s, but {found_s:.2f} s can be decoded")
        if float(np.abs(wave_S).max()) < 10 ** (self.cfg.silence_dbfs / 20):
            raise BadAudio(f"dropped:silence: never above {self.cfg.silence_dbfs:g} dBFS")

    def at_kept_rate(self, decoded: Decoded) -> Decoded:
        """The recording at `keep_rate_hz`, where its own rate is higher."""
        if decoded.rate_hz <= self.cfg.keep_rate_hz:
            return decoded
        import soxr

        ratio = self.cfg.keep_rate_hz / decoded.rate_hz
        wave_S = soxr.resample(decoded.wave_S, decoded.rate_hz, self.cfg.keep_rate_hz).astype(np.float32)
        offset = round(decoded.offset_samples * ratio)
        return replace(decoded, wave_S=wave_S, rate_hz=self.cfg.keep_rate_hz, offset_samples=offset)


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The file, by libsndfile or, where that does not know it, by FFmpeg.

    Raises: BadAudio, also from the blocks.
    """
    import soundfile

    if not path.stat().st_size:
        raise BadAudio("failed:empty: no bytes in it")
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, ValueError) as refused:
        with by_ffmpeg(path, why=getattr(refused, "error_string", str(refused))) as source:
            yield source
        return
    with file:
        yield Source(file.samplerate, file.channels, file.frames, blocks_of(file))


def blocks_of(file: Any) -> Iterator[NDArray[np.float32]]:
    """The samples of a file that libsndfile has opened."""
    import soundfile

    size = max(BLOCK_VALUES // max(file.channels, 1), 1)
    while True:
        try:
            block = file.read(size, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise BadAudio(f"failed:decode: {str(error).removeprefix('Error : ')}") from None
        if not len(block):
            return
        yield block


@contextmanager
def by_ffmpeg(path: Path, *, why: str) -> Iterator[Source]:
    """The first audio stream of the file; `why` is what libsndfile said of it."""
    import av

    try:
        container = av.open(io.BytesIO(path.read_bytes()) if path.stat().st_size < 1 << 20 else str(path), mode="r")
    except (av.FFmpegError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadAudio(f"failed:decode: neither libsndfile ({why}) nor FFmpeg ({reason}) can read it") from None
    with container:
        if not container.streams.audio:
            raise BadAudio("failed:decode: there is no audio stream in it")
        stream = container.streams.audio[0]
        rate_hz, channels = stream.rate or 0, stream.channels or 0
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
        declared = None if seconds is None else round(seconds * rate_hz)
        yield Source(rate_hz, channels, declared, frames_of(container, stream, channels))


def frames_of(container: Any, stream: Any, channels: int) -> Iterator[NDArray[np.float32]]:
    """The samples of a stream that FFmpeg has opened."""
    import av

    resampler = av.AudioResampler(format="flt", layout=stream.layout, rate=stream.rate)
    try:
        for frame in container.decode(stream):
            for piece in resampler.resample(frame):
                yield piece.to_ndarray().reshape(-1, channels)
        for piece in resampler.resample(None):
            yield piece.to_ndarray().reshape(-1, channels)
    except (av.FFmpegError, ValueError, EOFError) as error:
        raise BadAudio(f"failed:decode: {error}") from None
