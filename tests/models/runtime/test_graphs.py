"""How steps are recorded: here with a stand-in for the device, since only a GPU records."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch

from models.runtime import graphs


class Stream:
    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wait_stream(self, other: "Stream") -> None:
        assert other.device == self.device


class Graph:
    def replay(self) -> None:
        """Nothing was recorded."""


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """Of every recording, its stream and how many were under way."""
    found: list[tuple[Any, int]] = []
    under_way: list[object] = []

    @contextmanager
    def graph(one: Graph, *, pool: Any, capture_error_mode: str, stream: Any = None) -> Iterator[None]:
        under_way.append(one)
        time.sleep(0.02)
        found.append((stream, len(under_way)))
        yield
        under_way.remove(one)

    stand_ins = {"Stream": Stream, "CUDAGraph": Graph, "graph": graph, "current_stream": Stream}
    stand_ins |= dict.fromkeys(("stream", "device"), lambda _: nullcontext())
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    graphs.recording_stream.cache_clear()
    return found


def test_steps_are_recorded_on_one_stream_of_their_own_device(recorded: list[tuple[Any, int]]) -> None:
    device = torch.device("cuda:1")
    for _ in range(2):
        graphs.captured(lambda: None, device=device, kept=[])
    (one, _), (other, _) = recorded
    assert one.device == device
    assert one is other


def test_steps_of_several_threads_are_recorded_one_after_the_other(recorded: list[tuple[Any, int]]) -> None:
    def record() -> None:
        graphs.captured(lambda: None, device=torch.device("cuda:0"), kept=[])

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [under_way for _, under_way in recorded] == [1, 1, 1]
