"""Engines agree with each other, with bare PyTorch, and with themselves however a step is split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Ranks = Callable[..., list[Any]]

STEPS = 5


def manifest(objective: dict[str, Any], *, engine: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A stage of a toy objective."""
    return {
        "stage": "toy",
        "model": "tiny",
        "objective": objective,
        "data": {"seconds_per_step": 12, "held_out": 0},
        "optimizer": {"lr": 0.01, "clip": 0.5},
        "schedule": {"shape": "cosine", "warmup_steps": 2, "warmup_from": 0.001},
        "engine": engine,
        "steps": STEPS,
        "seed": 4,
        **changes,
    }


def close(one: Any, other: Any, *, tolerance: float = 1e-5) -> None:
    """Two results of `ranks.steps` are the same run."""
    for name in ("losses", "norms"):
        for step, (a, b) in enumerate(zip(one[name], other[name], strict=True)):
            assert a == pytest.approx(b, rel=tolerance), f"{name} of step {step}"
    assert one["weights"].keys() == other["weights"].keys()
    for key, value in one["weights"].items():
        assert torch.allclose(torch.tensor(value), torch.tensor(other["weights"][key]), atol=tolerance), key


@pytest.mark.parametrize("objective", ["toy", "toy_gan"])
def test_plain_and_zero_agree_on_any_number_of_ranks_and_micro_batches(
    corpus: Path, ranks: Ranks, tmp_path: Path, objective: str
) -> None:
    engines: dict[str, dict[str, Any]] = {
        "plain": {"name": "plain"},
        "zero0": {"name": "deepspeed", "zero_stage": 0},
        "zero1": {"name": "deepspeed", "zero_stage": 1},
        "zero2": {"name": "deepspeed", "zero_stage": 2},
    }
    if objective == "toy":
        engines["zero3"] = {"name": "deepspeed", "zero_stage": 3}
    settings = {"name": objective}
    manifests = {name: manifest(settings, engine=engine) for name, engine in engines.items()}
    for name in ("plain", "zero1", "zero2"):
        manifests[f"{name}x3"] = manifest(settings, engine={**engines[name], "accumulation": 3})
    two = ranks("steps", world=2, corpus=corpus, folder=tmp_path / "two", manifests=manifests)
    assert two[0] == two[1]
    one = ranks("steps", world=1, corpus=corpus, folder=tmp_path / "one", manifests=manifests)
    for name in manifests:
        if name != "zero3":
            close(two[0][name], two[0]["plain"])
            close(one[0][name], two[0]["plain"])
    if objective == "toy":  # weights of ZeRO-3 lie in pieces; its losses say enough
        for found in (one[0], two[0]):
            for a, b in zip(found["zero3"]["losses"], found["plain"]["losses"], strict=True):
                assert a == pytest.approx(b, rel=1e-5)
    losses = [sum(step.values()) for step in two[0]["plain"]["losses"]]
    assert losses[-1] < losses[0]
