"""Flow matching: the path from noise (time 0) to data (time 1), guidance, ODE solvers, and what an artifact locks.

A velocity is a function of the state, the time (a float, or one a row), and the number of the evaluation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from models.backbone.config import ModelConfig

Velocity = Callable[[Tensor, Tensor | float, int], Tensor]

TABLEAUS: dict[str, tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]] = {
    "euler": (((),), (1.0,)),
    "midpoint": (((), (1 / 2,)), (0.0, 1.0)),
    "rk4": (((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)), (1 / 8, 3 / 8, 3 / 8, 1 / 8)),
    "rk4_classic": (((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
"""Runge-Kutta methods: weights of earlier slopes a stage, then of all slopes. `rk4` is the 3/8 rule, as released."""


def wide(value: Tensor | float, like: Tensor) -> Tensor | float:
    """One number a row, shaped to multiply `like`; a float stays one."""
    return value.view(-1, *[1] * (like.dim() - 1)).to(like.dtype) if isinstance(value, Tensor) else value


def interpolate(noise: Tensor, clean: Tensor, *, time: Tensor | float, sigma: float = 0.0) -> Tensor:
    """x_t = t x_1 + (1 - (1 - sigma) t) x_0, with one time a row."""
    t = wide(time, clean)
    return t * clean + (1 - (1 - sigma) * t) * noise


def path_velocity(noise: Tensor, clean: Tensor, *, sigma: float = 0.0) -> Tensor:
    """What the network should say on that path: x_1 - (1 - sigma) x_0."""
    return clean - (1 - sigma) * noise


def guided(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """f + g (f - f_null) (paper, equation 6): g = 0 is no guidance, g = 1.2 the usual convention's 2.2."""
    return conditional + guidance * (conditional - unconditional)


def integrate(
    velocity: Velocity,
    x: Tensor,
    *,
    start: Tensor | float = 0.0,
    stop: Tensor | float = 1.0,
    steps: int,
    method: str = "euler",
) -> Tensor:
    """Solve dx/dt = velocity from `start` to `stop` (floats, or one a row) in equal steps."""
    rows, weights = TABLEAUS[method]
    step = (stop - start) / steps
    h = wide(step, x)
    for index in range(steps):
        slopes: list[Tensor] = []
        for stage, row in enumerate(rows):
            point = x + h * combined(row, slopes) if row else x
            time = start + (index + sum(row)) * step
            slopes.append(velocity(point, time, index * len(rows) + stage))
        x = x + h * combined(weights, slopes)
    return x


def combined(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """Weighted sum of slopes; a weight of zero costs nothing."""
    total = None
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            part = slope if weight == 1.0 else weight * slope
            total = part if total is None else total + part
    assert total is not None
    return total


@dataclass(frozen=True)
class Sampler:
    """How a patch comes out of noise: which network evaluations, at which times, and what to make of them."""

    kind: Literal["flow", "meanflow", "scm"]
    steps: int
    method: str = "euler"
    guidance: float = 0.0
    tau_mid: float = 1.3
    sigma: float = 0.0
    tells_duration: bool = False
    """Whether the network is told the interval (MeanFlow with a duration embedder)."""

    @property
    def times(self) -> tuple[float, ...]:
        """Flow time of every network evaluation of a patch, in order."""
        if self.kind == "scm":
            return tuple(math.cos(tau) / self.scale(tau) for tau in self.angles)
        nodes = [sum(row) for row in TABLEAUS[self.method][0]]
        return tuple((index + node) / self.steps for index in range(self.steps) for node in nodes)

    @property
    def duration(self) -> float | None:
        """Length of the interval that the network is told, or None."""
        return 1 / self.steps if self.tells_duration else None

    @property
    def branches(self) -> int:
        """2 with guidance (conditional and unconditional), else 1."""
        return 2 if self.guidance else 1

    @property
    def evaluations(self) -> int:
        """Network evaluations a patch (NFE), a guided one counted once."""
        return len(self.times)

    @property
    def renoises(self) -> bool:
        """Whether `run` needs a second noise."""
        return self.kind == "scm"

    @property
    def angles(self) -> tuple[float, float]:
        """Angles of the two-step sCM sampler."""
        return (math.pi / 2, self.tau_mid)

    def scale(self, tau: float) -> float:
        """s(tau) = sin tau + (1 - sigma) cos tau: what divides a TrigFlow state to make a flow state of it."""
        return math.sin(tau) + (1 - self.sigma) * math.cos(tau)

    def run(self, velocity: Velocity, noise: Tensor, renoise: Tensor | None = None) -> Tensor:
        """From noise to a patch. `renoise` is the fresh noise between the two sCM steps."""
        if self.kind != "scm":
            return integrate(velocity, noise, steps=self.steps, method=self.method)
        assert renoise is not None
        first, second = self.angles
        guess = self.denoise(velocity, noise, tau=first, number=0)
        again = math.cos(second) * guess + math.sin(second) * renoise
        return self.denoise(velocity, again, tau=second, number=1)

    def denoise(self, velocity: Velocity, state: Tensor, *, tau: float, number: int) -> Tensor:
        """cos tau x - sin tau F with F = s' x / s - v / s: for sigma = 0 that is x / s + (1 - t) v."""
        s = self.scale(tau)
        slope = math.cos(tau) - (1 - self.sigma) * math.sin(tau)
        flow = state / s
        trig = slope * flow - velocity(flow, math.cos(tau) / s, number) / s
        return math.cos(tau) * state - math.sin(tau) * trig


MOST_STEPS = 1000
"""More change nothing that can be heard, and take minutes a second."""
LARGEST_GUIDANCE = 100
"""Far beyond what sounds like speech; more than that gives noise, then what is no number."""


def sampler_for(
    config: ModelConfig, *, method: str | None = None, steps: int | None = None, guidance: float | None = None
) -> Sampler:
    """The sampler of a model: what the caller asks for, where the artifact does not lock it.

    Raises: ValueError, a sentence: an unknown method, no steps or too many, guidance that is negative or too strong, or
    a value that the artifact locks.
    """
    if method is not None and method not in ("euler", "midpoint", "rk4"):
        raise ValueError(f"unknown ODE method {method!r}; there are: euler, midpoint, rk4")
    if steps is not None and steps < 1:
        raise ValueError(f"a patch needs at least one step, but num_steps is {steps}")
    if steps is not None and steps > MOST_STEPS:
        raise ValueError(f"a patch takes at most {MOST_STEPS} steps, but num_steps is {steps}; 10 are usual")
    if guidance is not None and not 0 <= guidance <= LARGEST_GUIDANCE:
        raise ValueError(f"guidance must be a number of at least 0 and at most {LARGEST_GUIDANCE}, but is {guidance}")
    if config.sampling is not None:
        return locked(config, method=method, steps=steps, guidance=guidance)
    if config.mean_velocity:
        if guidance:
            raise ValueError(
                f"guidance {guidance} was asked for, but a MeanFlow model has its guidance distilled in; leave it out"
            )
        if method not in (None, "euler"):
            raise ValueError(f"method {method!r} was asked for, but a MeanFlow model takes its own steps; leave it out")
        return Sampler("meanflow", steps or 10, tells_duration=config.duration_embedding)
    return Sampler("flow", steps or 10, method=method or "euler", guidance=1.2 if guidance is None else guidance)


def locked(config: ModelConfig, *, method: str | None, steps: int | None, guidance: float | None) -> Sampler:
    """The sampler that a fixed-step artifact states, which a request may repeat but not change."""
    contract = config.sampling
    assert contract is not None
    asked = {"ode_method": method, "num_steps": steps, "guidance_scale": guidance}
    for name, value in asked.items():
        if value is not None and value != getattr(contract, name):
            own = getattr(contract, name)
            raise ValueError(f"{name} {value} was asked for, but this model locks it to {own}; leave it out")
    if contract.solver == "scm":
        return Sampler("scm", 2, tau_mid=contract.tau_mid, sigma=config.fm_sigma)
    return Sampler("flow", 1, method=contract.ode_method)
