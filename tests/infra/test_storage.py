"""Files are whole or absent, and the disk's refusals are sentences."""

import contextlib
import errno
import multiprocessing
import resource
import shutil
import signal
from pathlib import Path

import pytest

from infra.digests import tree_digest
from infra.journal import JournalWriter
from infra.locks import new_folder, owned
from infra.mistakes import os_error_sentence
from infra.objects import Folder
from infra.storage import (
    read_json,
    replacing,
    require_free,
    root_of,
    sync_folder,
    sync_tree,
    write_atomic,
    write_bytes,
)
from infra.workflow.node import Refused
from tests.processes import exit_code


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomic(path, "old")
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=write_too_much, args=(path,))
    child.start()
    assert exit_code(child) == errno.EFBIG
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["state.json"]


def test_a_file_that_is_written_piece_by_piece_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "big"
    with replacing(path) as file:
        file.write(b"first")
        assert not path.exists()
        file.write(b" second")
    assert path.read_bytes() == b"first second"
    with contextlib.suppress(OSError), replacing(path) as file:
        file.write(b"half")
        raise OSError
    assert path.read_bytes() == b"first second"
    assert [item.name for item in tmp_path.iterdir()] == ["big"]


def write_too_much(path: Path) -> None:
    """With files limited to 4 kB: what a full disk does to a write."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        write_atomic(path, b"x" * 100_000)
    except OSError as error:
        raise SystemExit(error.errno) from None


def test_a_tree_is_known_by_names_and_contents(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "x.txt").write_text("1")
    same = tree_digest(tmp_path / "a")
    assert tree_digest(tmp_path / "b") == same
    (tmp_path / "b" / "deep" / "x.txt").rename(tmp_path / "b" / "deep" / "y.txt")
    assert tree_digest(tmp_path / "b") != same


def test_a_torn_file_reads_as_absent(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": ')
    assert read_json(tmp_path / "x.json") is None
    assert read_json(tmp_path / "y.json") is None


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    with owned(tmp_path / ".lock") as first, owned(tmp_path / ".lock") as second:
        assert (first, second) == (True, False)
    with owned(tmp_path / ".lock") as again:
        assert again


def test_of_two_who_fill_a_new_folder_one_does(tmp_path: Path) -> None:
    with new_folder(tmp_path / "new"):
        with pytest.raises(Refused, match="another process writes into it"), new_folder(tmp_path / "new"):
            pass
        (tmp_path / "new" / "x.txt").write_text("1")
    for full, told in (("new", "is not empty"), ("new/x.txt", "is no folder")):
        with pytest.raises(Refused, match=told), new_folder(tmp_path / full):
            pass


def test_a_url_is_no_new_folder_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=r"s3:/bucket/x: is a URL \(s3:/...\)"), new_folder(Path("s3://bucket/x")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_the_machine_refuses_is_a_sentence(tmp_path: Path) -> None:
    assert "disk is full" in str(os_error_sentence(OSError(errno.ENOSPC, "")))
    assert "port is in use" in str(os_error_sentence(OSError(errno.EADDRINUSE, "")))
    assert "Input/output error; look after it and run" in str(os_error_sentence(OSError(errno.EIO, "")))
    assert "Read-only file system; have its rights" in str(os_error_sentence(OSError(errno.EROFS, "")))
    assert "a file is where a folder should be (a/b)" in str(os_error_sentence(OSError(errno.ENOTDIR, "", "a/b")))
    assert os_error_sentence(OSError(errno.ENOENT, "")) is None
    assert "full (b.tar)" in str(os_error_sentence(OSError(errno.ENOSPC, "", "b.tar.1f.tmp", None, "b.tar")))
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "a.wav").write_text("1")
    (tmp_path / "target" / "a.wav").symlink_to("/dev/full")
    with pytest.raises(shutil.Error) as copied:
        shutil.copytree(tmp_path / "source", tmp_path / "target", dirs_exist_ok=True)
    assert f"{tmp_path}/target/a.wav could not be written" in str(os_error_sentence(copied.value))
    with pytest.raises(Refused, match="MB free, but the corpus needs"):
        require_free(tmp_path / "not" / "there", megabytes=10**9, what="the corpus")


def test_relative_paths_of_a_manifest_start_at_its_checkout(tmp_path: Path) -> None:
    (tmp_path / "manifests" / "workflows").mkdir(parents=True)
    assert root_of(tmp_path / "manifests" / "workflows" / "w.yaml") == tmp_path / "manifests" / "workflows"
    (tmp_path / "pyproject.toml").write_text("")
    assert root_of(tmp_path / "manifests" / "workflows" / "w.yaml") == tmp_path


def test_what_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # the system knows a number, and no name

    writer = JournalWriter(tmp_path / "journal", "driver")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("1")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", refuse)
        for path, write in (
            (tmp_path / "whole", lambda path: write_atomic(path, "1")),
            (tmp_path / "pieces", written_in_pieces),
            (tmp_path / "tree", sync_folder),
            (tmp_path / "tree" / "file", lambda path: sync_tree(path.parent)),
            (writer.path, lambda path: writer.sync()),
            (tmp_path / "created", lambda path: Folder(tmp_path).create("created", b"1")),
        ):
            with pytest.raises(OSError, match="No space left") as told:
                write(path)
            assert told.value.filename == str(path)
    assert not any((tmp_path / name).exists() for name in ("whole", "pieces", "created"))
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as told:
        write_bytes(tmp_path / "full", b"1")
    assert told.value.filename == str(tmp_path / "full")


def written_in_pieces(path: Path) -> None:
    with replacing(path) as file:
        file.write(b"1")


def test_a_new_folder_that_cannot_be_filled_can_be_given_again(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        for _ in range(2):
            with pytest.raises(OSError, match="full"):
                half_filled(tmp_path / name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty"]
    (tmp_path / "empty").chmod(0o2770)
    (tmp_path / "link").symlink_to("empty")
    before = (tmp_path / "empty").stat()
    with pytest.raises(OSError, match="full"):
        half_filled(tmp_path / "link")
    assert list((tmp_path / "empty").iterdir()) == []
    assert (tmp_path / "empty").stat()[:3] == before[:3], "its rights, and the folder itself"


def half_filled(folder: Path) -> None:
    with new_folder(folder):
        (folder / "deep").mkdir()
        (folder / "deep" / "half.tar").write_text("1")
        raise OSError(errno.ENOSPC, "full")
