"""The objectives' mathematics on a mixture of four Gaussians, whose velocity and floor are known in closed form."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from models.backbone.flow import Sampler, interpolate, path_velocity
from training.losses.flow import over_patches, patch_error
from training.objectives import meanflow, soar

SIGMA = 0.15
MEANS = torch.tensor([[a, b] for a in (-1.5, 1.5) for b in (-1.5, 1.5)])
ROWS = 512


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def data(rows: int = ROWS) -> Tensor:
    """Samples of the mixture, as utterances of one frame: (N, 1, 2)."""
    return (MEANS[torch.randint(4, (rows,))] + SIGMA * torch.randn(rows, 2))[:, None]


def true_velocity(x: Tensor, time: Tensor | float, number: int = 0) -> Tensor:
    """E[x1 - x0 | x at time t]: each mode's own, by its posterior weight."""
    t = time.view(-1, 1, 1) if isinstance(time, Tensor) else torch.tensor(time)
    variance = (1 - t) ** 2 + (t * SIGMA) ** 2
    off = x - t[..., None] * MEANS if t.dim() == 0 else x - t * MEANS
    weight = (-off.square().sum(-1, keepdim=True) / (2 * variance)).softmax(dim=1)
    clean, noise = MEANS + t * SIGMA**2 * off / variance, (1 - t) * off / variance
    return (weight * (clean - noise)).sum(dim=1, keepdim=True)


def energy_distance(one: Tensor, two: Tensor) -> float:
    """0 where two samples come from one distribution."""
    a, b = one.flatten(1), two.flatten(1)
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


class Net(nn.Module):
    """State, time (with four waves of it) and duration to a velocity."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(12, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(96, 2))

    def forward(self, x: Tensor, time: Tensor | float, duration: Tensor | float = 0.0) -> Tensor:
        t, told = (
            value[:, None] if isinstance(value, Tensor) else torch.full((len(x), 1), value)
            for value in (time, duration)
        )
        waves = t * torch.tensor([1.0, 2.0, 4.0, 8.0]) * math.pi / 2
        return self.layers(torch.cat([x[:, 0], t, told, waves.sin(), waves.cos()], dim=1))[:, None]


def train(net: Net, loss: Callable[[], Tensor], *, steps: int, lr: float = 5e-3) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def flow_loss(net: Net, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    error = patch_error(net(interpolate(noise, clean, time=time), time), path_velocity(noise, clean), frames=1)
    term = over_patches(error, torch.ones_like(error, dtype=torch.bool))
    return term.total / term.count


def test_flow_matching_comes_within_a_hundredth_of_the_true_velocity() -> None:
    """The loss itself cannot come to zero: its floor is the variance of x1 - x0 that the state does not tell."""
    net = Net()
    train(net, lambda: flow_loss(net, data(), torch.randn(ROWS, 1, 2), torch.rand(ROWS)), steps=2000)
    clean, noise, time = data(20000), torch.randn(20000, 1, 2), torch.rand(20000)
    state = interpolate(noise, clean, time=time)
    with torch.no_grad():
        floor = float((true_velocity(state, time) - path_velocity(noise, clean)).square().mean())
        excess = float((net(state, time) - true_velocity(state, time)).square().mean())
        loss = float(flow_loss(net, clean, noise, time))
        made = Sampler("flow", 10).run(lambda x, t, n: net(x, t), noise[:2000])
    assert excess < 0.02
    assert loss == pytest.approx(floor + excess, rel=0.02)
    assert floor > 1.0
    assert energy_distance(made, clean[:2000]) < 0.03
    mode = torch.cdist(made[:, 0], MEANS).argmin(dim=1)
    assert torch.bincount(mode, minlength=4).min() > 400


def test_meanflow_samples_in_two_steps_what_euler_cannot() -> None:
    cfg = meanflow.Config(teacher_steps=16)
    student = Net()

    def loss() -> Tensor:
        clean, noise = data(), torch.randn(ROWS, 1, 2)
        start, duration = meanflow.drawn_intervals(torch.randn(ROWS), torch.randn(ROWS), torch.rand(ROWS), cfg=cfg)
        keep = torch.ones(ROWS, dtype=torch.bool)
        draws = meanflow.Noise(noise, start, duration, keep, keep)
        noisy = interpolate(noise, clean, time=start)
        target = meanflow.targets(lambda rows: true_velocity, clean, noisy, draws, cfg=cfg)
        return meanflow.weighted(patch_error(student(noisy, start, duration), target, frames=1), cfg=cfg).mean()

    train(student, loss, steps=1000)
    noise, clean = torch.randn(2000, 1, 2), data(2000)
    distance = {}
    with torch.no_grad():
        for steps in (1, 2):
            taught = Sampler("meanflow", steps, tells_duration=True)
            told = taught.duration
            assert told is not None
            made = taught.run(lambda x, t, n, told=told: student(x, t, told), noise)
            distance["student", steps] = energy_distance(made, clean)
            distance["euler", steps] = energy_distance(Sampler("flow", steps).run(true_velocity, noise), clean)
    assert distance["student", 2] < 0.2 * distance["euler", 2]
    assert distance["student", 1] < distance["euler", 1]


def test_soar_keeps_the_velocity_near_the_truth_and_its_loss_falls() -> None:
    """No gain in quality is claimed: on a toy, more flow matching does as well."""
    cfg = soar.Config(guidance=0.0)
    net = Net()
    train(net, lambda: flow_loss(net, data(), torch.randn(ROWS, 1, 2), torch.rand(ROWS)), steps=400)

    def errors(clean: Tensor, noise: soar.Noise) -> Tensor:
        on, off, counts = soar.soar_errors(
            lambda state, time, repeat: net(state, time), net, clean, noise, cfg=cfg, frames=1
        )
        return (on.sum() + off[counts].sum()) / (len(on) + counts.sum())

    def drawn(rows: int) -> soar.Noise:
        times = torch.sigmoid(torch.randn(rows))
        return soar.Noise(torch.randn(rows, 1, 2), times, torch.rand(rows, cfg.states), torch.ones(rows).bool())

    clean, noise = data(8000), drawn(8000)
    state = interpolate(noise.noise_BFD, clean, time=noise.time_B)

    def measured() -> tuple[float, float]:
        with torch.no_grad():
            off = net(state, noise.time_B) - true_velocity(state, noise.time_B)
            return float(errors(clean, noise)), float(off.square().mean())

    loss_before, _ = measured()
    train(net, lambda: errors(data(128), drawn(128)), steps=600)
    loss_after, off_after = measured()
    assert loss_after < loss_before - 0.005
    assert off_after < 0.1
