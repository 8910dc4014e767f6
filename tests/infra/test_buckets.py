"""Object stores, on a server that is there: what is written is read, one creator wins, refusals are sentences."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.buckets import MissingError, Storage, StorageError
from infra.manifest import load
from infra.mistakes import sentence_of
from infra.objects import Folder, Place, place_of
from infra.storage import ROOT
from tests.s3 import Server, first, slow


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Place:
    return Folder(tmp_path) if request.param == "folder" else server.bucket(f"corpora/{tmp_path.name}")


def test_what_is_written_is_read_whole_by_range_and_by_seeking(place: Place) -> None:
    data = bytes(range(256)) * 100_000
    place.put("a/b.bin", iter([data[:9_000_000], data[9_000_000:]]), sha256="f" * 64)
    inside = place.inside("a")
    assert inside.read("b.bin") == data
    assert inside.span("b.bin", 1_000, 1_010) == data[1_000:1_010]
    assert len(inside.span("b.bin", len(data) - 5, len(data) + 5)) == 5
    with inside.open("b.bin") as file:
        file.seek(-300, 2)
        assert file.read(10) == data[-300:-290]
        assert file.read() == data[-290:]
    found = inside.stored("b.bin")
    assert found is not None
    assert found.bytes == len(data)
    assert inside.stored("c.bin") is None
    with pytest.raises(FileNotFoundError):
        inside.read("c.bin")


def test_nothing_is_written_where_the_data_fails_on_its_way(place: Place) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(9_000_000)
        raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"):
        place.put("x", broken(), sha256="f" * 64)
    assert place.stored("x") is None


def test_of_sixteen_creators_one_wins_and_its_bytes_stay(place: Place) -> None:
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda number: place.create("one", f"{number}".encode()), range(16)))
    assert won.count(True) == 1
    assert place.read("one") == f"{won.index(True)}".encode()


def test_errors_that_pass_are_not_seen(server: Server) -> None:
    bucket = server.bucket()
    for status in ("503 Slow Down", "500 Internal Error", "reset"):
        server.fault = first(2, status)
        bucket.put("x", [b"abc"], sha256="f" * 64)
        server.fault = first(2, status)
        assert bucket.read("x") == b"abc"


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("503 Slow Down", "answers 503 SlowDown, after 2 more tries; run again later, it goes on from here"),
        ("403 Access Denied", r"does not allow it \(AccessDenied\); check the key, its policy and the region"),
        ("507 XMinioStorageFull", r"the store is full \(XMinioStorageFull\); free space"),
        ("400 Invalid Argument", "answers 400 InvalidArgument"),
        ("reset", "cannot be reached, after 2 more tries"),
    ],
)
def test_refusal_is_a_sentence(server: Server, status: str, told: str) -> None:
    server.fault = first(99, status)
    with pytest.raises(StorageError, match=told) as caught:
        server.bucket().put("x", [b"abc"], sha256="f" * 64)
    assert sentence_of(caught.value) == (str(caught.value), 1)
    assert "\n" not in str(caught.value)


def test_wrong_place_or_key_is_a_sentence(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="s3://no-such-bucket/x: there is no such bucket at http"):
        server.bucket("no-such-bucket/x").put("y", [b"1"], sha256="f" * 64)
    with pytest.raises(MissingError, match="there is no such object"):
        server.bucket().read("nothing")
    with pytest.raises(StorageError, match="cannot be reached, after 0 more tries"):
        server.bucket(endpoint="http://127.0.0.1:9", retries=0).read("x")
    server.fault = slow(2)
    with pytest.raises(StorageError, match="does not answer in time"):
        server.bucket(timeout_seconds=0.3, retries=0).read("x")
    server.fault = None
    for wrong in ("ftp://host/x", "s3:///x"):
        with pytest.raises(StorageError, match="not the URL of a store"):
            place_of(wrong).read("x")
    server.bucket().put("x", [b"1"], sha256="f" * 64)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="no credentials were found; set AWS_ACCESS_KEY_ID"):
        server.bucket(retries=0).read("x")
    with pytest.raises(StorageError, match="does not allow it"):
        server.bucket(anonymous=True).read("x")


def test_credentials_come_from_a_profile(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[corpus]\naws_access_key_id = k\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    bucket = server.bucket(profile="corpus")
    bucket.put("p", [b"1"], sha256="f" * 64)
    assert bucket.read("p") == b"1"
    with pytest.raises(StorageError, match="profile 'other' of ~/.aws cannot be used"):
        server.bucket(profile="other").read("p")


def test_manifests_say_how_stores_are_reached() -> None:
    found = {path.stem: load(Storage, path) for path in (ROOT / "manifests" / "storage").glob("*.yaml")}
    assert found["aws"].endpoint is None
    assert found["minio"].endpoint == "http://127.0.0.1:9000"
