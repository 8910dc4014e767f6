"""A name in a manifest is a file in a folder: every file of readers, transforms and filters keeps the promise."""

import importlib
import inspect

import pytest

from infra.manifest import Manifest, names_in
from pipelines.row import OWNERS, score_owner
from tests.sounds import clip_of

PUBLIC = {"readers": "recordings", "transforms": "Transform", "filters": "keep"}
FILES = [(folder, name) for folder in PUBLIC for name in names_in(f"pipelines.{folder}")]


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_file_keeps_the_promise_of_its_folder(folder: str, name: str) -> None:
    module = importlib.import_module(f"pipelines.{folder}.{name}")
    assert module.__doc__
    assert module.__doc__[0].isupper()
    assert issubclass(module.Config, Manifest)
    assert isinstance(module.Config(), Manifest), "its defaults must work"
    assert callable(getattr(module, PUBLIC[folder]))


@pytest.mark.parametrize("name", names_in("pipelines.filters"))
def test_filter_judges_a_score_that_a_segment_has(name: str) -> None:
    module = importlib.import_module(f"pipelines.filters.{name}")
    owner = score_owner(module.SCORE)
    assert owner is None or owner in names_in("pipelines.transforms")
    assert list(inspect.signature(module.keep).parameters) == ["segment", "cfg"]


@pytest.mark.parametrize("name", names_in("pipelines.filters"))
def test_filter_stands_a_segment_that_nobody_scored(name: str) -> None:
    module = importlib.import_module(f"pipelines.filters.{name}")
    assert module.keep(clip_of().segment, module.Config()) in (True, False)


def test_every_score_has_an_owner_that_exists() -> None:
    assert {owner for owner in OWNERS.values() if owner} <= set(names_in("pipelines.transforms"))
