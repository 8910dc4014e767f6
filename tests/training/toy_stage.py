"""The manifest of a stage that is small and quick, but for its data and its steps."""

from typing import Any

TOY_STAGE: dict[str, Any] = {
    "stage": "toy",
    "model": "tiny",
    "objective": {"name": "toy"},
    "optimizer": {"lr": 0.01},
    "engine": {"name": "plain"},
    "launcher": "in_process",
}
