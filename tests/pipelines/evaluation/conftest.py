"""A small corpus and a small bundle, for whole evaluations."""

from pathlib import Path

import pytest

from models.runtime.bundle import save_bundle
from tests.small import small_bundle
from tests.training.speech import build_corpus


@pytest.fixture(scope="package")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_corpus(tmp_path_factory.mktemp("corpus") / "mini", samples=6, longest=6)


@pytest.fixture(scope="package")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    save_bundle(small_bundle(), folder / "bundle")
    return folder
