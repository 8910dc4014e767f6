"""An endpoint to ask, and settings that name it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.captions.settings import Endpoint
from tests.pipelines.captions.listener import Server, listening


@pytest.fixture
def server() -> Iterator[Server]:
    """Runs until the test ends."""
    with listening() as made:
        yield made


@pytest.fixture
def endpoint(server: Server, tmp_path: Path) -> Callable[..., Endpoint]:
    """Settings for the server, with changes."""

    def make(**changes: Any) -> Endpoint:
        known = {"url": server.url, "model": "listener-1", "folder": str(tmp_path / "captions"), "private": True}
        known |= {"budget": {"requests": 100}, "backoff_seconds": 0.01, "timeout_seconds": 60, "parallel": 1}
        return Endpoint.model_validate({**known, **changes})

    return make
