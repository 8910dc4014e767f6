"""MeanFlow: the mean velocity over an interval of a teacher's trajectory, which a student learns to say in one step."""

import torch
from torch import Tensor

from models.backbone.flow import Velocity, integrate, wide


def mean_velocity(
    teacher: Velocity, x: Tensor, *, start_B: Tensor, duration_B: Tensor, steps: int, method: str = "euler"
) -> Tensor:
    """(x(start + duration) - x(start)) / duration along the teacher's ODE (paper, equation 13), by finite difference.

    A duration of zero gives 0 / 0: the caller replaces such rows (anchors).
    """
    with torch.no_grad():
        end = integrate(teacher, x, start=start_B, stop=start_B + duration_B, steps=steps, method=method)
        return (end - x) / wide(duration_B, x)


def intervals(first_B: Tensor, second_B: Tensor, *, mean: float = -0.4, std: float = 1.0) -> tuple[Tensor, Tensor]:
    """Start and duration of the interval between two logit-normal times, from two standard normal draws."""
    one_B, two_B = torch.sigmoid(mean + std * first_B), torch.sigmoid(mean + std * second_B)
    return torch.minimum(one_B, two_B), (one_B - two_B).abs()


def adaptive_weight(error: Tensor, *, power: float = 0.5, epsilon: float = 1e-3) -> Tensor:
    """(error + epsilon) ** -power, without a gradient (paper, equation 15): outliers pull less."""
    return (error.detach() + epsilon) ** -power
