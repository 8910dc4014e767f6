"""Solvers, samplers and what artifacts lock."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.backbone.config import MeanFlowConfig, ModelConfig, SamplingConfig
from models.backbone.flow import Sampler, guided, integrate, interpolate, path_velocity, sampler_for
from models.backbone.meanflow import adaptive_weight, intervals, mean_velocity
from tests.small import CONFIG, LLM

BASE = ModelConfig.from_dicts(CONFIG, LLM)


def growth(x: Tensor, time: Tensor | float, number: int) -> Tensor:
    """dx/dt = x cos t, whose solution is x0 exp(sin t)."""
    angle = time if isinstance(time, Tensor) else torch.tensor(time, dtype=torch.float64)
    return x * angle.cos().view(-1, *[1] * (x.dim() - 1))


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4), ("rk4_classic", 4)])
def test_each_solver_has_its_order(method: str, order: int) -> None:
    x = torch.ones(1, 1, dtype=torch.float64)
    errors = [
        abs(float(integrate(growth, x, steps=steps, method=method)) - math.exp(math.sin(1))) for steps in (16, 32, 64)
    ]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.3)


def test_rk4_is_the_three_eighths_rule() -> None:
    def velocity(x: Tensor, time: Tensor | float, number: int) -> Tensor:
        times.append(float(time))
        return x * 0 + float(time) ** 5

    times: list[float] = []
    end = integrate(velocity, torch.zeros(1, dtype=torch.float64), steps=1, method="rk4")
    assert times == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert float(end) == pytest.approx((3 * (1 / 3) ** 5 + 3 * (2 / 3) ** 5 + 1) / 8)


def test_rows_may_have_intervals_of_their_own() -> None:
    x = torch.ones(2, 3, dtype=torch.float64)
    start, stop = torch.tensor([0.0, 0.4], dtype=torch.float64), torch.tensor([1.0, 0.7], dtype=torch.float64)
    end = integrate(growth, x, start=start, stop=stop, steps=64, method="rk4")
    assert torch.allclose(end[:, 0], (stop.sin() - start.sin()).exp(), rtol=1e-8)


def test_the_path_goes_from_noise_to_data_at_its_velocity() -> None:
    noise, clean = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert torch.equal(interpolate(noise, clean, time=torch.zeros(2)), noise)
    assert torch.equal(interpolate(noise, clean, time=torch.ones(2)), clean)
    half, later = (interpolate(noise, clean, time=time, sigma=0.1) for time in (0.5, 0.75))
    assert torch.allclose((later - half) / 0.25, path_velocity(noise, clean, sigma=0.1), atol=1e-5)


def test_guidance_follows_the_papers_convention() -> None:
    conditional, null = torch.tensor(3.0), torch.tensor(1.0)
    assert float(guided(conditional, null, 1.2)) == pytest.approx(1 + 2.2 * 2)


@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_the_two_step_sampler_asks_at_the_released_times(sigma: float) -> None:
    sampler = Sampler("scm", 2, sigma=sigma)
    first, second = sampler.times
    assert first == pytest.approx(0.0, abs=1e-9)
    if not sigma:
        assert second == pytest.approx(0.2173, abs=1e-4)
    data, noise = torch.randn(3), torch.randn(3)
    # an oracle that knows the data: from any state of its path the guess is the data
    wanted = sampler.run(lambda x, t, n: (data - x) / (1 - float(t)), noise, torch.randn(3))
    if not sigma:
        assert torch.allclose(wanted, data, atol=1e-5)


def test_the_denoiser_is_one_euler_step_to_the_data() -> None:
    sampler, state, velocity = (
        Sampler("scm", 2),
        torch.randn(4, dtype=torch.float64),
        torch.randn(4, dtype=torch.float64),
    )
    for tau in (math.pi / 2, 1.3, 0.7):
        flow, time = state / sampler.scale(tau), math.cos(tau) / sampler.scale(tau)
        found = sampler.denoise(lambda x, t, n: velocity, state, tau=tau, number=0)
        assert torch.allclose(found, flow + (1 - time) * velocity, rtol=1e-12)


def test_what_a_request_may_choose_and_what_an_artifact_locks() -> None:
    assert sampler_for(BASE) == Sampler("flow", 10, guidance=1.2)
    assert sampler_for(BASE, method="rk4", steps=2, guidance=0.0).evaluations == 8
    distilled = replace(BASE, meanflow=MeanFlowConfig(enabled=True))
    assert sampler_for(distilled, steps=4).duration == 0.25
    assert (
        sampler_for(replace(BASE, meanflow=MeanFlowConfig(enabled=True, use_duration_embedding=False))).duration is None
    )
    two = replace(distilled, sampling=SamplingConfig(solver="scm", num_steps=2, tau_mid=1.2))
    assert sampler_for(two, steps=2) == Sampler("scm", 2, tau_mid=1.2)
    one = replace(distilled, sampling=SamplingConfig(solver="flow_matching", num_steps=1))
    assert sampler_for(one) == Sampler("flow", 1)
    assert sampler_for(one).duration is None
    assert sampler_for(one).branches == 1


@pytest.mark.parametrize(
    ("meanflow", "sampling", "asked", "words"),
    [
        (None, None, {"method": "dopri5"}, "unknown ODE method 'dopri5'"),
        (None, None, {"steps": 0}, "at least one step"),
        (None, None, {"steps": 100000}, "at most 1000 steps, but num_steps is 100000"),
        (None, None, {"guidance": 1e6}, "at most 100, but is 1000000"),
        (None, None, {"guidance": -1.0}, "at least 0"),
        (None, None, {"guidance": math.nan}, "at least 0"),
        (MeanFlowConfig(enabled=True), None, {"guidance": 1.2}, "distilled in; leave it out"),
        (None, SamplingConfig(solver="scm", num_steps=2), {"steps": 4}, "locks it to 2; leave it out"),
        (None, SamplingConfig(solver="flow_matching", num_steps=1), {"guidance": 1.2}, "locks it to 0"),
    ],
)
def test_a_sampler_that_cannot_be_is_refused_in_words(
    meanflow: MeanFlowConfig | None, sampling: SamplingConfig | None, asked: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        sampler_for(replace(BASE, meanflow=meanflow, sampling=sampling), **asked)


# ---- mean velocities ----


def test_mean_velocity_of_a_linear_field_is_known() -> None:
    a, x = 0.7, torch.randn(2, 3, dtype=torch.float64)
    duration = torch.tensor([0.5, 0.2], dtype=torch.float64)
    start = torch.zeros(2, dtype=torch.float64)
    for steps in (1, 4, 16):
        found = mean_velocity(lambda z, t, n: a * z, x, start_B=start, duration_B=duration, steps=steps)
        factor = ((1 + a * duration / steps) ** steps - 1) / duration
        assert torch.allclose(found, factor[:, None] * x, rtol=1e-12)


def test_mean_velocity_of_one_step_is_the_velocity_and_halves_add_up() -> None:
    x = torch.randn(2, 3, dtype=torch.float64)
    start, duration = torch.tensor([0.1, 0.3], dtype=torch.float64), torch.tensor([0.6, 0.4], dtype=torch.float64)
    one = mean_velocity(growth, x, start_B=start, duration_B=duration, steps=1)
    assert torch.allclose(one, growth(x, start, 0), rtol=1e-12)
    whole = mean_velocity(growth, x, start_B=start, duration_B=duration, steps=32)
    first = mean_velocity(growth, x, start_B=start, duration_B=duration / 2, steps=16)
    there = x + duration[:, None] / 2 * first
    second = mean_velocity(growth, there, start_B=start + duration / 2, duration_B=duration / 2, steps=16)
    assert torch.allclose(whole, (first + second) / 2, rtol=1e-12)


def test_intervals_are_logit_normal_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    start, duration = intervals(torch.randn(20000, generator=generator), torch.randn(20000, generator=generator))
    assert float(start.min()) > 0
    assert float((start + duration).max()) < 1
    assert float(duration.mean()) == pytest.approx(0.23, abs=0.01)
    assert float((duration >= 0.5).float().mean()) == pytest.approx(0.084, abs=0.01)


def test_the_adaptive_weight_has_no_gradient() -> None:
    error = torch.tensor([4.0, 0.25], requires_grad=True)
    weight = adaptive_weight(error, epsilon=1e-9)
    assert weight.tolist() == pytest.approx([0.5, 2.0])
    (weight * error).sum().backward()
    assert error.grad is not None
    assert error.grad.tolist() == pytest.approx([0.5, 2.0])
