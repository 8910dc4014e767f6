"""A bundle is written whole, into a folder of its own, or not at all; what the disk refuses is told."""

from pathlib import Path
from typing import Any

import pytest

from models.runtime.bundle import Bundle, BundleError, save_bundle


def test_bundle_is_never_written_over_something(small: Bundle, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "note.txt").write_text("mine")
    with pytest.raises(BundleError, match="not an empty folder"):
        save_bundle(small, tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_failed_save_leaves_nothing_behind(small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.runtime.files.os.fsync", refuse)
    with pytest.raises(BundleError, match="No space left"):
        save_bundle(small, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_any_file_of_a_bundle_is_a_sentence(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each file is written by raises something else: torch, safetensors, tokenizers in Rust."""
    make = Path.mkdir
    save_bundle(small, tmp_path / "whole")
    whole = tmp_path / "whole"
    others = [path for path in whole.rglob("*") if path.suffix != ".safetensors"]  # those are moved to their place
    for name in sorted(path.relative_to(whole).as_posix() for path in others):

        def mkdir(self: Path, *args: Any, name: str = name, **facts: Any) -> None:
            make(self, *args, **facts)
            if self.name.startswith(".bundle.") and not (self / name).is_symlink():
                (self / name).symlink_to("/dev/full")  # takes no byte

        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.mkdir", mkdir)
            with pytest.raises(BundleError, match=r"could not be written to .*/bundle: .*No space left"):
                save_bundle(small, tmp_path / "bundle")
        assert [path.name for path in tmp_path.iterdir()] == ["whole"]
