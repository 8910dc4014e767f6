"""Run alone: makes files that unpack to far more than they are, reads them under a limit, and tells what it took."""

import gzip
import io
import json
import os
import resource
import struct
import sys
import tarfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile

from infra.workflow.node import Refused
from tests.pipelines.bad_sound import good, patched, wav, wide
from tests.pipelines.readers.material import parquet, put, tar
from tests.pipelines.test_bad_inputs import flac_samples, made_of, told

MEGABYTE = 1 << 20


def silent_flac(*, minutes: int, rate_hz: int = 48000) -> bytes:
    """Silence: a thousandth of what it decodes to."""
    buffer = io.BytesIO()
    second = np.zeros(rate_hz, np.int16)
    with soundfile.SoundFile(buffer, "w", rate_hz, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(minutes * 60):
            file.write(second)
    return buffer.getvalue()


def silent_aac(*, minutes: int) -> bytes:
    """Silence in ADTS, which nowhere says how long it is."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="adts") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for number in range(minutes * 60):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts, frame.time_base = 16000, number * 16000, Fraction(1, 16000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def sparse(path: Path, head: bytes, size: int) -> None:
    """A file that has few bytes and says that it has many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)


def header(name: str, *, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def make(root: Path) -> dict[str, str]:
    """Kind -> reader."""
    flac = silent_flac(minutes=45)
    put(root / "silent flac", {"x.flac": flac})
    put(root / "silent flac of 192 kHz", {"x.flac": silent_flac(minutes=9, rate_hz=192000)})
    put(root / "silent flac of unknown length", {"x.flac": flac_samples(flac, 0)})
    put(root / "silent flac that lies", {"x.flac": flac_samples(flac, 48000)})
    put(root / "silent flac in a tar", {"x.tar": tar({"x.flac": flac_samples(flac, 0)})})
    put(root / "silent flac in a table", {"x.parquet": parquet([{"audio": {"bytes": flac, "path": "x"}}])})
    twelve_hours = 12 * 3600 * 8000 * 2
    head = wav(np.zeros(10), rate_hz=8000, subtype="PCM_16")[:44]
    head = patched(patched(head, 4, "<I", twelve_hours + 36), 40, "<I", twelve_hours)
    sparse(root / "ten hours" / "x.wav", head, twelve_hours + 44)
    sparse(root / "wide" / "x.wav", wide(good("wav"), 65535)[:44], 1 << 30)
    put(root / "aac without a length", {"x.aac": silent_aac(minutes=12)})
    id3 = b"ID3\x04\0\0\x7f\x7f\x7f\x7f"
    sparse(root / "ID3" / "x.mp3", id3, 1 << 28)
    picture = b"ID3\x04\0\0\x01\x7f\x7f\x7f" + b"APIC" + struct.pack(">I", 0x017F7F70) + bytes(2)
    sparse(root / "ID3 picture" / "x.mp3", picture, 1 << 28)
    sparse(root / "zeros" / "x.wav", b"", 1 << 30)
    box = struct.pack(">I4sQ", 1, b"moov", 1 << 29) + struct.pack(">I4s", 1 << 28, b"udta")
    sparse(root / "mp4 box" / "x.m4a", good("m4a")[:28] + box, 1 << 29)
    sparse(root / "name of a tar" / "x.tar", header("x", kind=b"L", size=8 << 30), 9 << 30)
    sparse(root / "pax header" / "x.tar", header("x", kind=b"x", size=8 << 30), 9 << 30)
    sparse(root / "tar of zeros" / "x.tar", b"", 1 << 34)
    sparse(root / "json in a tar" / "x.tar", header("x.json", kind=b"0", size=8 << 30), 9 << 30)
    path = root / "gzip" / "x.tar.gz"
    path.parent.mkdir(parents=True)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header("x.wav", kind=b"0", size=1 << 30))
        for _ in range(256):
            file.write(bytes(MEGABYTE))
    (root / "table").mkdir()
    cells = pyarrow.table({"audio": pyarrow.array([bytes(256 * MEGABYTE)], pyarrow.binary())})
    pyarrow.parquet.write_table(cells, root / "table" / "x.parquet", compression="zstd", use_dictionary=False)
    (root / "line").mkdir()
    (root / "line" / "x.wav").write_bytes(good("wav"))
    sparse(root / "line" / "t.tsv", b"file\ttext\nx.wav\t", 1 << 30)
    readers = {"tar": "webdataset", "gz": "webdataset", "parquet": "parquet"}
    return {item.name: readers.get(next(item.glob("x.*")).suffix[1:], "folder") for item in sorted(root.iterdir())}


def main(root: Path, *, limit_mb: int) -> None:
    """Print, as JSON, kind -> [what was told, megabytes that it took at most]."""
    pid = os.fork()
    if pid == 0:
        (root / "..").resolve().joinpath("kinds.json").write_text(json.dumps(make(root)))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    kinds = json.loads((root / "..").resolve().joinpath("kinds.json").read_text())
    warm = root.parent / "warm"
    put(
        warm, {"a.wav": good("wav"), "a.m4a": good("m4a"), "a.mp3": good("mp3"), "x.tar": tar({"x.flac": good("flac")})}
    )
    put(warm / "t", {"x.parquet": parquet([{"audio": {"bytes": good("wav"), "path": "x"}}])})
    for reader in ("folder", "webdataset", "parquet"):
        made_of(warm, reader)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + limit_mb * MEGABYTE,) * 2)
    found = {}
    for kind, reader in kinds.items():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            words = [told(made) for made in made_of(root / kind, reader, max_minutes=10)]
        except Refused as error:
            words = [f"refused: {error}"]
        found[kind] = [words, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), limit_mb=int(sys.argv[2]))
