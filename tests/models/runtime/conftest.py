"""Bundles that the tests of the runtime share."""

import shutil
from pathlib import Path

import pytest

from models.runtime.bundle import Bundle, load_bundle
from tests.small import small_bundle


@pytest.fixture(scope="session")
def small() -> Bundle:
    """A whole bundle with random weights. Tests that change it make their own."""
    return small_bundle()


@pytest.fixture(scope="session")
def official_folder(shared: Path) -> Path:
    """A small checkpoint in the official format, written by the official package."""
    return shared / "parity" / "tiny_ckpt"


@pytest.fixture(scope="session")
def official(official_folder: Path) -> Bundle:
    """The same, loaded."""
    return load_bundle(official_folder)


@pytest.fixture(scope="session")
def distilled(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Its MeanFlow variant: another configuration and core, all else the same."""
    folder = tmp_path_factory.mktemp("distilled")
    for source in (shared / "parity" / "tiny_ckpt", shared / "parity" / "tiny_mf"):
        for file in source.iterdir():
            (folder / file.name).unlink(missing_ok=True)
            shutil.copyfile(file, folder / file.name)
    return load_bundle(folder)
