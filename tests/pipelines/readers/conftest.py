"""A reader with the real probe behind it."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from infra.manifest import resolve
from pipelines.transforms import probe
from tests.pipelines.readers.material import Read


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Read]:
    """Read a folder by the reader of that name, and probe all that it finds."""

    def by(name: str, root: Path | None = None, **settings: Any) -> Read:
        module = resolve("pipelines.readers", name)
        found = list(module.recordings(module.Config(**settings), root or tmp_path))
        transform = probe.Transform(probe.Config())
        names = [item.name if item.start_seconds is None else f"{item.name}@{item.start_seconds:g}" for item in found]
        assert len(set(names)) == len(found), "every recording has a name of its own"
        json.dumps([{**asdict(item), "uri": ""} for item in found], ensure_ascii=False).encode()
        return Read(dict(zip(names, found, strict=True)), dict(zip(names, map(transform.decode, found), strict=True)))

    return by
