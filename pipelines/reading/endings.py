"""How long a file says that it is, where its decoder would not tell: WAVE and AIFF, Ogg, MPEG audio, AAC in ADTS.

A file that was cut decodes without complaint in all of these; so does a WAVE whose header tells of a part alone.

What cannot be found: a stream of MPEG, AAC or AC-3 without a tag that was cut between two frames, and flipped bits in
PCM and MPEG (FLAC and Ogg carry checksums).
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

PCM_TAGS = (1, 3, 6, 7, 0xFFFE)
"""WAVE formats whose blocks are one sample of each channel."""
UNKNOWN_LENGTH = 0xFFFF0000
"""Data sizes from here on are written by programs that do not know how much will come."""
OGG_TAIL = 1 << 17
"""The longest page of Ogg is 65307 bytes."""
LONGEST_GARBAGE = 1 << 16
"""Bytes in which the next MPEG frame is looked for."""
UNTOLD_SECONDS = 0.25
"""Of sound behind the end that the header of a WAVE tells: less is padding."""


@dataclass(frozen=True)
class Ending:
    """What a file declares."""

    samples: int | None = None
    """Of one channel."""
    open_end: str | None = None
    """Why it must have been cut, where that is plain."""
    tagged: bool = True
    """Of MPEG audio: there is a tag that tells its length, so that decoders know where it ends."""


def ending_of(file: BinaryIO, *, rate_hz: int) -> Ending:
    """What `file` declares, by its first bytes; nothing where they are of another kind."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    try:
        if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
            return wave_ending(file, size)
        if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
            return Ending(aiff_samples(file, size))
        if head[:4] == b"OggS":
            return ogg_ending(file, size, rate_hz=rate_hz)
        if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
            return adts_ending(file, size) or mpeg_ending(file, size)
    except struct.error:
        return Ending()
    return Ending()


def chunks_of(file: BinaryIO, size: int, *, order: str) -> list[tuple[bytes, int, int]]:
    """Name, start and declared size of the chunks of a RIFF or IFF file, until one leads out of it."""
    found: list[tuple[bytes, int, int]] = []
    at = 12
    while at + 8 <= size and len(found) < 256:
        file.seek(at)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        found.append((name, at + 8, length))
        at += 8 + length + length % 2
    return found


def wave_ending(file: BinaryIO, size: int) -> Ending:
    """Samples that the data chunk declares, where it says so and they are of one size; and whether sound follows it."""
    chunks = {name: (start, length) for name, start, length in reversed(chunks_of(file, size, order="<"))}
    if b"fmt " not in chunks or b"data" not in chunks:
        return Ending()
    file.seek(chunks[b"fmt "][0])
    tag, _channels, _rate, byte_rate, block, _bits = struct.unpack("<HHIIHH", file.read(16))
    start, declared = chunks[b"data"]
    if declared >= UNKNOWN_LENGTH:
        if b"ds64" not in chunks:
            return Ending()
        file.seek(chunks[b"ds64"][0] + 8)
        declared = struct.unpack("<Q", file.read(8))[0]
    rest = untold_bytes(file, size, end=start + declared + declared % 2)
    why = f"its header tells of {declared} bytes of sound, but {rest} more follow" if byte_rate else None
    samples = declared // block if tag in PCM_TAGS and block else None
    return Ending(samples, why if rest > UNTOLD_SECONDS * byte_rate else None)


def untold_bytes(file: BinaryIO, size: int, *, end: int) -> int:
    """Bytes behind the end of a data chunk that are neither another chunk, nor a tag, nor zeros.

    Whoever writes more than 4 GB, is killed before the header is brought up to date, or strings files together, leaves
    a file like that.
    """
    file.seek(min(end, size))
    rest = file.read(4096)
    name = rest[:4]
    if len(rest) < 8 or name[:3] in (b"ID3", b"TAG") or not rest.strip(b"\0"):
        return 0
    inside = end + 8 + struct.unpack("<I", rest[4:8])[0] <= size + 1
    a_chunk = inside and name not in (b"RIFF", b"RF64") and all(32 <= byte < 127 for byte in name)
    return 0 if a_chunk else size - end


def aiff_samples(file: BinaryIO, size: int) -> int | None:
    """Samples that the COMM chunk declares."""
    for name, start, _ in chunks_of(file, size, order=">"):
        if name == b"COMM":
            file.seek(start + 2)
            return int(struct.unpack(">I", file.read(4))[0])
    return None


def ogg_ending(file: BinaryIO, size: int, *, rate_hz: int) -> Ending:
    """Samples up to the last page, and whether that is marked as the last one (RFC 3533: it has to be)."""
    file.seek(0)
    first = file.read(512)
    serial, body = first[14:18], first[27 + (first[26] if len(first) > 26 else 0) :]
    file.seek(max(size - OGG_TAIL, 0))
    tail = file.read(OGG_TAIL)
    at = tail.rfind(b"OggS")
    while at >= 0 and tail[at + 14 : at + 18] != serial:
        at = tail.rfind(b"OggS", 0, at)
    if at < 0:
        return Ending(open_end="the Ogg stream has no last page")
    flags, granule = struct.unpack("<Bq", tail[at + 5 : at + 14])
    segments = tail[at + 27 : at + 27 + tail[at + 26]]
    whole = len(tail) >= at + 27 + len(segments) + sum(segments)
    open_end = None if flags & 4 and whole else "the Ogg stream has no last page"
    if body[:8] == b"OpusHead":
        skip = struct.unpack("<H", body[10:12])[0]
        return Ending(max(granule - skip, 0) * rate_hz // 48000, open_end)
    return Ending(max(granule, 0) if body[1:7] == b"vorbis" else None, open_end)


BITRATES = {
    # kbit/s by (is MPEG 1, layer); the first means "free", and is not followed
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


@dataclass(frozen=True)
class Frame:
    """The header of a frame of MPEG audio (ISO 11172-3, 13818-3, and MPEG 2.5)."""

    size: int
    samples: int
    side_bytes: int
    """Of layer III: what lies between the header and a tag."""


def frame_of(head: bytes) -> Frame | None:
    """The frame that begins with these four bytes; None where none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    first = version == 3
    bitrate = BITRATES[first, layer][bits] * 1000
    rate_hz = RATES_HZ[version][rate]
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if first else (9 if mono else 17)
    if layer == 1:
        return Frame((12 * bitrate // rate_hz + padding) * 4, 384, side)
    samples = 1152 if first or layer == 2 else 576
    return Frame(samples // 8 * bitrate // rate_hz + padding, samples, side)


def mpeg_ending(file: BinaryIO, size: int) -> Ending:
    """By the tag in the first frame (VBRI; Xing is known to libsndfile), or by walking over all frames without one."""
    at = after_id3(file, size)
    at, frame = next_frame(file, at)
    if frame is None:
        return Ending(tagged=False)
    file.seek(at)
    data = file.read(min(frame.size, 512))
    tag = data[4 + frame.side_bytes :]
    if tag[:4] in (b"Xing", b"Info") and tag[7:8] and tag[7] & 1:
        return Ending()  # libsndfile reads this tag, and the silence that the encoder put around the sound
    if data[36:40] == b"VBRI":
        return Ending(int(struct.unpack(">I", data[50:54])[0]) * frame.samples)
    samples = 0
    while frame is not None:
        if at + frame.size > size:
            return Ending(samples, "it ends inside of an MPEG frame", tagged=False)
        samples += frame.samples
        at += frame.size
        file.seek(at)
        head = file.read(4)
        frame = frame_of(head)
        if frame is None and head and head[:3] not in (b"TAG", b"APE", b"LYR", b"\0\0\0"):
            at, frame = next_frame(file, at)
    return Ending(samples, tagged=False)


def adts_ending(file: BinaryIO, size: int) -> Ending | None:
    """Of AAC in ADTS frames (ISO 13818-7): whether it ends inside of one; None for what is something else."""
    at = after_id3(file, size)
    frames = 0
    while at < size:
        file.seek(at)
        head = file.read(7)
        if head[:1] != b"\xff" or len(head) > 1 and head[1] & 0xF6 != 0xF0:
            return None
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5 if len(head) == 7 else 7
        if length < 7:
            return None
        at += length
        frames += at <= size
    return Ending(open_end="it ends inside of an AAC frame" if at > size else None) if frames else None


def after_id3(file: BinaryIO, size: int) -> int:
    """Where the sound begins: behind the ID3v2 tags, whose sizes may lie."""
    at = 0
    for _ in range(16):
        file.seek(at)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        at = min(at + 10 + id3_bytes(head), size)
    return at


def id3_bytes(head: bytes) -> int:
    """Length of an ID3v2 tag behind its header of ten bytes: seven bits of each of the last four."""
    return head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]


def next_frame(file: BinaryIO, at: int) -> tuple[int, Frame | None]:
    """The next place at or behind `at` where two frames follow each other (or one ends the file), and the frame."""
    file.seek(at)
    data = file.read(LONGEST_GARBAGE)
    place = data.find(b"\xff")
    while 0 <= place < len(data) - 3:
        frame = frame_of(data[place : place + 4])
        if frame is not None:
            file.seek(at + place + frame.size)
            head = file.read(4)
            if len(head) < 4 or frame_of(head) is not None:
                return at + place, frame
        place = data.find(b"\xff", place + 1)
    return at, None
