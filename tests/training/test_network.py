"""Workers on several machines: by which network they find each other, and what one says that does not see the store."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.workflow.node import Refused
from training.network import GLOO, interface_of, torch_config
from training.ray_train import settled, train_worker


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


def test_worker_that_does_not_see_the_store_says_so_and_where(tmp_path: Path) -> None:
    """It was a FileNotFoundError in a file of ours."""
    work = tmp_path / "store" / "stage" / "0" / "work"
    with pytest.raises(
        Refused, match=f"{re.escape(os.uname().nodename)} does not see {re.escape(str(work))}: the store"
    ):
        train_worker({"work": str(work)})


WAIT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"


def test_elastic_stage_does_not_wait_ten_minutes_for_a_machine_that_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.nodes", list)
    monkeypatch.delenv(WAIT, raising=False)
    for elastic, seconds in ((True, "90"), (False, "600")):
        with settled(elastic=elastic):
            assert os.environ[WAIT] == seconds
        assert WAIT not in os.environ
    monkeypatch.setenv(WAIT, "30")
    with settled(elastic=True):
        assert os.environ[WAIT] == "30"
    assert os.environ[WAIT] == "30"


def test_an_address_of_no_interface_names_none() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.77") is None
