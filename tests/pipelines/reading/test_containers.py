"""Containers: the bytes of a member or a cell are those that were put in, and a bad container is a sentence."""

import gzip
import hashlib
import io
import os
import random
import struct
import tarfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from pipelines.reading.cells import BadCell
from pipelines.reading.containers import Opener, Unreadable, cell_uri, file_of, member_uri, parse_uri
from pipelines.reading.gzips import BadGzip, GzipStream
from pipelines.reading.inside import Outside, inside, printable
from pipelines.reading.tars import BLOCK, Damaged, Member, entries

random_bytes = random.Random(0).randbytes
FILES = {
    "a/1.bin": random_bytes(5000),
    "a/2.bin": b"",
    "b" * 150 + ".bin": random_bytes(512),
    "ü/é.bin": random_bytes(9),
}


def tar_of(files: dict[str, bytes], *, format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def listed(data: bytes) -> list[Member]:
    return list(entries(io.BytesIO(data)))


def read(uri: str, opener: Opener | None = None) -> bytes:
    with (opener or Opener()).open(uri) as file:
        return file.read()


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("packed", [False, True])
def test_members_are_found_where_they_lie(tmp_path: Path, format: int, packed: bool) -> None:
    data = tar_of(FILES, format=format)
    path = tmp_path / ("x.tar.gz" if packed else "x.tar")
    path.write_bytes(gzip.compress(data) if packed else data)
    found = listed(data)
    assert [entry.name for entry in found] == list(FILES)
    opener = Opener()
    for entry in [*found, *reversed(found)]:
        uri = member_uri(path, member=entry.name, offset=entry.offset, length=entry.size)
        assert read(uri, opener) == FILES[entry.name]
        assert file_of(uri) == path
    with path.open("rb") as file:
        assert list(entries(GzipStream(file) if packed else file)) == found  # type: ignore[arg-type]


def test_member_can_be_read_in_parts_and_from_its_end(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of(FILES))
    entry = listed(tar_of(FILES))[0]
    uri = member_uri(tmp_path / "x.tar", member="a/1.bin", offset=entry.offset, length=entry.size)
    with Opener().open(uri) as file:
        assert file.seek(-10, 2) == 4990
        assert file.read(100) == FILES["a/1.bin"][-10:]
        file.seek(7)
        assert file.read(3) == FILES["a/1.bin"][7:10]


def test_gzip_stream_goes_back_and_forth(tmp_path: Path) -> None:
    whole = b"".join(random_bytes(1000) * 3 for _ in range(7000))
    half = len(whole) // 2
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(whole[:half], 1) + gzip.compress(whole[half:], 1) + bytes(100))
    picks = random.Random(1)
    with path.open("rb") as file:
        stream = GzipStream(file)
        for _ in range(20):
            at = picks.randrange(len(whole))
            stream.seek(at)
            assert stream.read(5000) == whole[at : at + 5000]
        assert 3 <= len(stream.states) <= 8
        stream.seek(len(whole))
        assert stream.read(10) == b""


def test_two_tars_in_one_file_are_both_read_and_zeros_without_end_are_not() -> None:
    one, two = tar_of({"1": b"one"}), tar_of({"2": b"two"})
    assert [entry.name for entry in listed(one + two)] == ["1", "2"]
    assert [entry.name for entry in listed(one + bytes(1 << 22) + two)] == ["1"]


def header(name: str, *, kind: bytes = b"0", size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("kind", "data", "names", "why"),
    [
        ("empty", b"", [], "empty: no bytes"),
        ("text", b"not a tar at all" * 100, [], "not a tar"),
        ("header cut", tar_of({"1": b"one"})[:300], [], "cut: it ends inside of a header"),
        ("member cut", tar_of({"1": b"one", "2": bytes(5000)})[:3000], ["1", "2"], "cut: it ends inside of member 1"),
        ("checksum", tar_of({"1": b"one"})[:1024] + b"x" * 512, ["1"], "damaged: no header after member 0"),
        ("lying size", header("1", size=8 << 30) + b"abc", ["1"], "cut: it ends inside of member 0"),
        ("long name bomb", header("x", kind=b"L", size=8 << 30), [], "bomb: the name of member 0"),
        ("pax bomb", header("x", kind=b"x", size=8 << 30), [], "bomb: the name of member 0"),
        ("pax chain", (header("x", kind=b"x", size=12) + b"12 path=abc\n".ljust(512, b"\0")) * 40, [], "bomb"),
        ("pax nonsense", header("x", kind=b"x", size=9) + b"99999 a=b".ljust(512, b"\0"), [], "makes no sense"),
        ("pax endless", header("x", kind=b"x", size=9) + b"0 a=bcdef".ljust(512, b"\0"), [], "makes no sense"),
        ("pax size", header("x", kind=b"x", size=11) + b"11 size=-5\n".ljust(512, b"\0"), [], "-5"),
        ("name cut", header("x", kind=b"L", size=700) + bytes(100), [], "cut: it ends inside of the name"),
    ],
)
def test_bad_tar_is_a_sentence(kind: str, data: bytes, names: list[str], why: str) -> None:
    found: list[str] = []
    with pytest.raises(Damaged, match=why):
        found.extend(entry.name for entry in entries(io.BytesIO(data)))
    assert found == names


def test_names_of_one_member_take_no_more_together_than_one_may() -> None:
    record = b"600013 path=" + b"a" * 600_000 + b"\n"
    one = header("x", kind=b"x", size=len(record)) + record.ljust(-(-len(record) // 512) * 512, b"\0")
    (found,) = entries(io.BytesIO(one + header("y") + bytes(1024)))
    assert len(found.name) == 600_000
    with pytest.raises(Damaged, match="bomb: the name of member 0"):
        list(entries(io.BytesIO(one * 2 + header("y") + bytes(1024))))


def test_tar_without_end_blocks_is_whole() -> None:
    data = tar_of(FILES)
    end = listed(data)[-1].offset + BLOCK
    assert [entry.name for entry in listed(data[:end])] == list(FILES)


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"6", b"S", b"Z"])
def test_links_devices_and_sparse_files_are_told_and_not_read(kind: bytes) -> None:
    data = header("link", kind=kind) + tar_of({"after": b"fine"})
    first, after = listed(data)
    assert first.refused is not None
    assert first.refused.startswith("link: ")
    assert (after.name, after.refused) == ("after", None)


def test_sparse_map_is_skipped_and_its_end_found() -> None:
    block = bytearray(header("sparse", kind=b"S", size=512))
    block[257:265] = b"ustar  \0"
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    data = bytes(block) + bytes(504) + b"\1" + bytes(7) + bytes(512) + b"d" * 512 + tar_of({"after": b"fine"})
    assert [(entry.name, entry.offset) for entry in listed(data)] == [("sparse", 3 * 512), ("after", 5 * 512)]
    with pytest.raises(Damaged, match="map of a sparse"):
        listed(bytes(block) + (bytes(504) + b"\1" + bytes(7)) * 3)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: data[: len(data) // 2], "cut: the gzip stream stops"),
        (lambda data: data[:5000] + b"\xff" * 50 + data[5050:], "damaged: the gzip stream"),
        (lambda data: data[:-8] + struct.pack("<I", 1) + data[-4:], "damaged: the gzip stream"),
        (lambda data: data[:-1], "cut: the gzip stream stops"),
    ],
)
def test_bad_gzip_is_a_sentence(tmp_path: Path, spoil, why: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "x.tar.gz"
    path.write_bytes(spoil(gzip.compress(tar_of({"1": random_bytes(40000)}))))
    with path.open("rb") as file, pytest.raises(BadGzip, match=why):
        GzipStream(file).read()


def test_gzip_bomb_is_found_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(header("zeros.wav", size=400 << 20))
        for _ in range(400):
            file.write(bytes(1 << 20))
    with path.open("rb") as packed, pytest.raises(BadGzip, match="bomb: "):
        list(entries(GzipStream(packed)))  # type: ignore[arg-type]


def audio_table() -> pyarrow.Table:
    cells = [{"bytes": random_bytes(1000 + n), "path": f"{n}.wav"} for n in range(100)]
    raw, numbers = [cell["bytes"] for cell in cells], list(range(100))
    return pyarrow.table({"audio": cells, "raw": raw, "n": numbers, "n.audio": cells, "n.raw": raw})


@pytest.mark.parametrize("kind", ["parquet", "stream", "file"])
@pytest.mark.parametrize("column", ["audio.bytes", "raw", "n.audio.bytes", "n.raw"])
def test_cells_are_found_where_they_lie(tmp_path: Path, kind: str, column: str) -> None:
    table = audio_table()
    path = tmp_path / ("x.parquet" if kind == "parquet" else "x.arrow")
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=40)
    else:
        new = pyarrow.ipc.new_stream if kind == "stream" else pyarrow.ipc.new_file
        with new(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=40)
    opener = Opener()
    for number in [0, 1, 5, 39, 40, 41, 99, 80, 3]:
        uri = cell_uri(path, group=number // 40, row=number % 40, column=column)
        assert read(uri, opener) == table["raw"][number].as_py()
        assert file_of(uri) == path


@pytest.mark.parametrize(
    ("group", "row", "column", "why"),
    [
        (9, 0, "audio.bytes", "no row group 9"),
        (0, 400, "audio.bytes", "no row 400"),
        (0, 0, "audio.bites", "table cannot be read"),
        (0, 0, "n", "holds int"),
        (0, 7, "audio.bytes", "no audio in its cell"),
    ],
)
def test_cell_that_is_not_there_is_a_sentence(tmp_path: Path, group: int, row: int, column: str, why: str) -> None:
    cells = [{"bytes": None if n == 7 else b"x", "path": "p"} for n in range(10)]
    pyarrow.parquet.write_table(pyarrow.table({"audio": cells, "n": list(range(10))}), tmp_path / "x.parquet")
    with pytest.raises(BadCell, match=why):
        read(cell_uri(tmp_path / "x.parquet", group=group, row=row, column=column))


@pytest.mark.parametrize(("column", "why"), [("n.bytes", "no bytes in a column of int64"), ("m", "no column m in it")])
def test_column_of_an_arrow_file_that_is_not_there_is_a_sentence(tmp_path: Path, column: str, why: str) -> None:
    table = pyarrow.table({"n": [1]})
    with pyarrow.ipc.new_stream(tmp_path / "x.arrow", table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(BadCell, match=why):
        read(cell_uri(tmp_path / "x.arrow", group=0, row=0, column=column))


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_table_that_is_cut_or_no_table_is_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    pyarrow.parquet.write_table(audio_table(), path)
    for data in (path.read_bytes()[:3000], b"PAR1", b"", b"PAR1" + random_bytes(500) + b"PAR1", random_bytes(3000)):
        path.write_bytes(data)
        with pytest.raises(BadCell, match="cannot be read"):
            read(cell_uri(path, group=0, row=0, column="audio.bytes"))


def test_cell_that_unpacks_to_far_more_than_it_is_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pyarrow.table({"audio": pyarrow.array([bytes(100 << 20)], pyarrow.binary())})
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(BadCell, match="bomb: "):
        read(cell_uri(path, group=0, row=0, column="audio"))


@pytest.mark.parametrize(
    "uri",
    ["pipe:cat /etc/passwd", "http://x/a.wav", "file:///etc/passwd", "concat:a|b", "s3://b/k.wav", "data:audio/wav"],
)
def test_uri_that_is_a_url_or_a_command_is_refused(uri: str) -> None:
    with pytest.raises(Unreadable, match="URL or a command"):
        parse_uri(uri)


@pytest.mark.timeout(120)
def test_pipes_devices_and_folders_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.wav")
    for path, why in ((tmp_path / "x.wav", "pipe"), (Path("/dev/zero"), "device"), (tmp_path, "folder")):
        with pytest.raises(Unreadable, match=why):
            read(str(path))
    with pytest.raises(Unreadable, match="no such file"):
        read(str(tmp_path / "gone.wav"))
    with pytest.raises(Unreadable, match="NUL"):
        read(f"{tmp_path}/a\0b.wav")


@pytest.mark.parametrize("name", [
    "../x", "a/../../x", "/etc/passwd", "out/secret.wav", "link.wav", "pipe:cat x", "cat x |", "| cat", "a\0b",
    "x" * 5000, "https://e.org/a.wav", "a" * 300,
])  # fmt: skip
def test_no_name_leads_out_of_its_root(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (tmp_path / "secret.wav").write_bytes(b"secret")
    (root / "out").symlink_to(tmp_path)
    (root / "link.wav").symlink_to(tmp_path / "secret.wav")
    (root / "fine.wav").symlink_to(root / "in")
    if name == "a" * 300:
        with pytest.raises((Outside, OSError)):
            (inside(root, name)).stat()
        return
    with pytest.raises(Outside):
        inside(root, name)
    assert inside(root, "fine.wav") == root / "fine.wav"
    assert inside(root, str(root / "in/a.wav")) == root / "in/a.wav"


def test_names_are_shown_without_what_could_deceive() -> None:
    assert printable("a\nb\0\u202egpj.wav\udcff") == "a\\nb\\x00\\u202egpj.wav\\udcff"
    assert printable("日本語 é 👩\u200d🚀.wav") == "日本語 é 👩\u200d🚀.wav"
    long = printable("x" * 5000)
    assert len(long) == 512
    assert long != printable("x" * 4999 + "y")


def test_hash_is_of_the_bytes_of_the_recording(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of(FILES))
    entry = listed(tar_of(FILES))[0]
    with Opener().open(
        member_uri(tmp_path / "x.tar", member="a/1.bin", offset=entry.offset, length=entry.size)
    ) as file:
        assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(FILES["a/1.bin"]).digest()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["c.parquet#0/17/a.wav", "b.tar!/x/y@3+4"])
def test_file_under_a_folder_that_is_called_like_an_archive_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(b"sound")
    with Opener().open(str(tmp_path / name)) as file:
        assert file.read() == b"sound"
    assert file_of(str(tmp_path / name)) == tmp_path / name
