"""The learning rate at the corners of a stage."""

import math

import pytest

from training.manifest import Schedule
from training.schedule import lr_at


def at(step: int, *, steps: int = 1000, lr: float = 2e-4, **schedule: object) -> float:
    return lr_at(step, schedule=Schedule.model_validate(schedule), lr=lr, steps=steps)


def test_warm_up_rises_in_a_line_and_ends_at_the_peak() -> None:
    warm = {"warmup_steps": 100, "warmup_from": 2e-6}
    assert at(0, **warm) == pytest.approx(2e-6)
    assert at(50, **warm) == pytest.approx((2e-6 + 2e-4) / 2)
    assert at(100, **warm) == pytest.approx(2e-4)
    assert at(999, **warm) == pytest.approx(2e-4)


@pytest.mark.parametrize("shape", ["linear", "cosine", "exponential"])
def test_a_decay_starts_at_the_peak_and_ends_at_the_final_rate(shape: str) -> None:
    decay = {"shape": shape, "final_lr": 1e-6, "warmup_steps": 10}
    assert at(10, **decay) == pytest.approx(2e-4)
    assert at(1000, **decay) == pytest.approx(1e-6, abs=1e-12)
    rates = [at(step, **decay) for step in range(10, 1001)]
    assert rates == sorted(rates, reverse=True)


def test_exponential_falls_by_the_same_factor_every_step() -> None:
    rates = [at(step, lr=1e-4, shape="exponential", final_lr=1e-6, steps=500_000) for step in (0, 1, 250_000, 500_000)]
    assert rates[1] / rates[0] == pytest.approx(0.999990790, abs=1e-8)
    assert rates[2] == pytest.approx(1e-5)
    assert rates[3] == pytest.approx(1e-6, abs=1e-9)


def test_constant_stays() -> None:
    assert {at(step) for step in (0, 1, 500, 999)} == {2e-4}


def test_each_shape_is_where_its_name_says_after_a_quarter_of_its_way() -> None:
    shares = {shape: at(250, lr=1.0, shape=shape, final_lr=0.01) for shape in ("linear", "cosine", "exponential")}
    assert shares == {
        "linear": pytest.approx(1 - 0.99 / 4),
        "cosine": pytest.approx(0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2),
        "exponential": pytest.approx(0.01**0.25),
    }
