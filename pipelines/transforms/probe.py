"""Decode a recording, whatever its codec, and refuse what is empty, damaged, silent, or too much."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from pydantic import Field

from infra.manifest import Manifest
from infra.mistakes import OUT_OF_ROOM
from pipelines.clip import Decoded, Unusable
from pipelines.reading.containers import Opener, parse_uri, version_of
from pipelines.reading.decode import BadAudio, Source, opened
from pipelines.reading.mono import Mixer, Mono
from pipelines.row import Recording, Wave

REWRITTEN = "changed: its file was written while it was read; try again when it is whole"
LOUDEST = 16.0
"""Samples above are no waveform with a full scale of 1; whole numbers that were written as float are."""
MOST_AT_HAND = 1 << 26
"""Bytes of a file that is read into memory as a whole."""

Version = tuple[int, ...] | None


class Config(Manifest):
    max_minutes: float = Field(default=120, gt=0)
    """Of a recording; bounds the memory of a worker, also against files that unpack to a thousand times their size."""
    min_seconds: float = Field(default=0.05, ge=0)
    min_rate_hz: int = 4000
    max_rate_hz: int = 384000
    keep_rate_hz: int = 48000
    """Higher rates are resampled to this one; lower ones stay as they are."""
    max_channels: int = 32
    silence_dbfs: float = -60
    """A recording whose peak around its mean is below is silent."""
    max_missing_share: float = Field(default=0.02, ge=0, le=1)
    """How much shorter than declared a recording may decode: encoders' delays are, truncated files are not."""
    max_missing_seconds: float = 0.25
    """Shorter by less is never truncated."""


class Transform:
    """Recordings to waveforms; one bad file is one `Unusable`, whatever is wrong with it."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.opener = Opener()
        self.digest: tuple[str, Version, str] = ("", None, "")
        """The recording that was hashed last, its version, its sha256: intervals of a file come one after the other."""

    def __call__(self, recordings: Sequence[Recording]) -> list[Decoded | Unusable]:
        return [self.decode(recording) for recording in recordings]

    def decode(self, recording: Recording) -> Decoded | Unusable:
        """Mono float32 at the native rate, no higher than `keep_rate_hz`; or why not.

        Raises: OSError where the machine has no room to read it: other recordings would fail as well.
        """
        if recording.fault is not None:
            return Unusable(recording=recording, reason=recording.fault, seconds=self.told_seconds(recording))
        version = version_of(recording.uri)
        try:
            with self.opener.open(recording.uri) as file:
                made = self.decode_file(at_hand(file, recording), recording, version)
        except OSError as error:
            if error.errno in OUT_OF_ROOM:
                raise
            why = error.strerror or str(error)
            return Unusable(recording=recording, reason=f"failed:unreadable: {why.lower()}"[:300], seconds=0.0)
        if version_of(recording.uri) != version:
            seconds = made.seconds if isinstance(made, Unusable) else len(made.wave_S) / made.rate_hz
            return Unusable(recording=recording, reason=f"failed:{REWRITTEN}", seconds=seconds)
        return made

    def decode_file(self, file: BinaryIO, recording: Recording, version: Version) -> Decoded | Unusable:
        """See `decode`. What its header gives away is not decoded, and has no hash."""
        seconds = 0.0
        try:
            with opened(file) as source:
                self.check_header(source)
                seconds = self.declared_seconds(source, recording)
                self.expected_samples(source, recording)
                self.check_size(file, recording)
                recording = replace(recording, sha256=self.digest_of(file, recording, version))
                mono, channel = self.read(source, recording), None
                if mono.loudest is not None:
                    channel = mono.loudest
                    with opened(file) as again:
                        mono = self.read(again, recording, channel=channel)
                seconds = mono.samples / source.rate_hz
                self.check(mono, source, recording)
                kept_hz = self.kept_hz(source)
                offset = round(begins(source, recording) * kept_hz / source.rate_hz)
                gain = fitted(mono.wave_S)
                return Decoded(recording, mono.wave_S, kept_hz, source.channels, offset, channel=channel, gain=gain)
        except BadAudio as error:
            return Unusable(recording=recording, reason=str(error), seconds=seconds)

    def check_size(self, file: BinaryIO, recording: Recording) -> None:
        """Raises: BadAudio where the file has another size than was cataloged; for cells of tables none is known."""
        place = file.tell()
        size = file.seek(0, 2)
        file.seek(place)
        if recording.bytes not in (0, size) and parse_uri(recording.uri).column is None:
            raise BadAudio(f"failed:changed: it has {size} bytes, but {recording.bytes} were cataloged")

    def digest_of(self, file: BinaryIO, recording: Recording, version: Version) -> str:
        """sha256 of the bytes of the recording, in hex; not done again for the next interval of the same file.

        Raises: BadAudio where that is another one than was cataloged.
        """
        place = file.tell()
        if self.digest[:2] != (recording.uri, version) or recording.start_seconds is None:
            file.seek(0)
            self.digest = (recording.uri, version, hashlib.file_digest(file, "sha256").hexdigest())  # type: ignore[arg-type]
        file.seek(place)
        if recording.sha256 not in (None, self.digest[2]):
            raise BadAudio("failed:changed: not the bytes that were cataloged")
        return self.digest[2]

    def told_seconds(self, recording: Recording) -> float:
        """The hours that a recording counts with which is not to be used: as the corpus or the header tells it."""
        if recording.seconds is not None:
            return min(max(recording.seconds, 0.0), self.cfg.max_minutes * 60)
        if not recording.uri or recording.fault is None or not recording.fault.startswith("dropped:"):
            return 0.0
        try:
            with self.opener.open(recording.uri) as file, opened(file) as source:
                self.check_header(source)
                return self.declared_seconds(source, recording)
        except (OSError, BadAudio):
            return 0.0

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

    def expected_samples(self, source: Source, recording: Recording) -> int:
        """As many as the header, or the interval, says that there are.

        Raises: BadAudio where they are too many.
        """
        begin, end = recording.start_seconds or 0.0, recording.end_seconds
        declared = source.declared_samples or 0
        expected = (declared if end is None else round(end * source.rate_hz)) - round(begin * source.rate_hz)
        if expected > self.cfg.max_minutes * 60 * source.rate_hz:
            raise BadAudio(self.too_long())
        return max(expected, 0)

    def too_long(self) -> str:
        """The reason."""
        return f"failed:too_long: over {self.cfg.max_minutes:g} minutes; cut it, or raise max_minutes"

    def read(self, source: Source, recording: Recording, *, channel: int | None = None) -> Mono:
        """Channels averaged, or one of them, at no more than `keep_rate_hz`; of the interval alone, where there is one.

        Raises: BadAudio
        """
        begin = begins(source, recording)
        end = None if recording.end_seconds is None else round(recording.end_seconds * source.rate_hz)
        most = round(self.cfg.max_minutes * 60 * source.rate_hz)
        expected = self.expected_samples(source, recording)
        mixer = Mixer(rate_hz=source.rate_hz, kept_hz=self.kept_hz(source), expected=expected, channel=channel)
        at, blocks = source.blocks(begin)
        for block in blocks:
            piece = block[max(begin - at, 0) : None if end is None else max(end - at, 0)]
            at += len(block)
            if mixer.samples + len(piece) > most:
                raise BadAudio(self.too_long())
            mixer.add(piece)
            if end is not None and at >= end:
                break
        return mixer.done()

    def kept_hz(self, source: Source) -> int:
        """The rate that the waveform gets."""
        return min(source.rate_hz, self.cfg.keep_rate_hz)

    def check(self, mono: Mono, source: Source, recording: Recording) -> None:
        """Raises: BadAudio for what decodes, but is not a recording."""
        seconds, low, high = mono.samples / source.rate_hz, mono.low, mono.high
        if not mono.samples and not source.open_end:
            raise BadAudio("failed:empty: no samples in it")
        if mono.not_finite:
            raise BadAudio(f"failed:not_finite: {mono.not_finite} samples are NaN or infinite")
        self.check_whole(seconds, source, recording)
        if max(-low, high) > LOUDEST:
            raise BadAudio(f"failed:scale: samples up to {max(-low, high):.0f}, but full scale is 1")
        if (high - low) / 2 < 10 ** (self.cfg.silence_dbfs / 20):
            raise BadAudio(f"dropped:silence: never above {self.cfg.silence_dbfs:g} dBFS")
        if seconds < self.cfg.min_seconds:
            raise BadAudio(f"dropped:too_short: {seconds:.3f} s, less than {self.cfg.min_seconds:g} s")

    def check_whole(self, seconds: float, source: Source, recording: Recording) -> None:
        """Raises: BadAudio where less came out than the file, or the corpus, says that there is."""
        begin, end = recording.start_seconds or 0.0, recording.end_seconds
        declared = (source.declared_samples or 0) / source.rate_hz
        expected = {"declares": declared - begin if end is None else end - begin}
        if end is None and recording.start_seconds is None and recording.seconds is not None:
            expected["should have"] = recording.seconds
        for says, length in expected.items():
            if length - seconds > max(self.cfg.max_missing_share * length, self.cfg.max_missing_seconds):
                raise BadAudio(f"failed:truncated: {says} {length:.2f} s, but {seconds:.2f} s can be decoded")
        if source.open_end and end is None:
            raise BadAudio(f"failed:truncated: {source.open_end}")


def at_hand(file: BinaryIO, recording: Recording) -> BinaryIO:
    """A file that is not large, in memory: read once, to be hashed and decoded. Intervals of one file come after each
    other and read no more of it than they need."""
    size = file.seek(0, 2)
    file.seek(0)
    return file if size > MOST_AT_HAND or recording.start_seconds is not None else io.BytesIO(file.read())


def fitted(wave_S: Wave) -> float | None:
    """Bring what is above full scale (float files and lossy codecs have it), which would be clipped where it is stored,
    down to it, in place. Returns the gain; None where nothing is above."""
    peak = max(float(wave_S.max()), -float(wave_S.min()))
    if peak <= 1:
        return None
    wave_S /= np.float32(peak)
    return 1 / peak


def begins(source: Source, recording: Recording) -> int:
    """The first sample that is wanted, at the rate of the file."""
    return round((recording.start_seconds or 0.0) * source.rate_hz)
