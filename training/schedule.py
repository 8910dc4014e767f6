"""The learning rate: a pure function of the global step, so that resuming or adding workers cannot change it."""

import math

from training.manifest import Schedule


def lr_at(step: int, *, schedule: Schedule, lr: float, steps: int) -> float:
    """Learning rate of the update that comes after `step` updates, of `steps` in all.

    Linear from `warmup_from` (at step 0) to `lr` (at `warmup_steps`), then by `shape` to `final_lr` (at `steps`).
    """
    if step < schedule.warmup_steps:
        return schedule.warmup_from + (lr - schedule.warmup_from) * step / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / (steps - schedule.warmup_steps)
    if schedule.shape == "linear":
        return lr + (schedule.final_lr - lr) * done
    if schedule.shape == "cosine":
        return schedule.final_lr + (lr - schedule.final_lr) * 0.5 * (1 + math.cos(math.pi * done))
    if schedule.shape == "exponential":
        return lr * float((schedule.final_lr / lr) ** done)
    return lr
