"""Workers on several machines find each other by the network that Ray joins these machines by."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from training.network import GLOO, interface_of, torch_config


class Here:
    """A group of one worker, which is this process; notes what it is told in which order."""

    def __init__(self) -> None:
        self.told: list[str | None] = []

    def execute(self, call: Callable[..., Any], **words: Any) -> None:
        call(**words)
        self.told.append(os.environ.get(GLOO))

    def execute_single(self, rank: int, call: Callable[..., Any]) -> Any:
        raise StopIteration  # the group would be made from here on


@pytest.mark.parametrize(("before", "after"), [(None, "lo"), ("eth7", "eth7")])
def test_gloo_is_told_the_interface_of_ray_before_the_group_is_made(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    """By the machine's own name it finds 127.0.1.1 on Debian: two machines could not train together."""
    monkeypatch.setenv(GLOO, before or "")
    if before is None:
        monkeypatch.delenv(GLOO)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    config, group = torch_config(backend="gloo"), Here()
    with pytest.raises(StopIteration):
        config.backend_cls().on_start(group, config)
    assert group.told == [after]


def test_an_address_of_no_interface_names_none() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.77") is None
