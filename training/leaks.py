"""A sampled check that a player's loss left no gradient in parameters that are not its own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from training.update import Moment, place

if TYPE_CHECKING:
    from training.engine import Engine
    from training.objectives import Objective
    from training.world import World

DEEP = 4
"""Containers within containers that are looked into for networks."""


class Leak(RuntimeError):  # noqa: N818 - reads as what happened
    """A gradient outside the phase's player: the objective is wrong, and weights would move that must not."""


def stop_at_leak(objective: "Objective", engines: "Mapping[str, Engine]", *, at: Moment, world: "World") -> None:
    """After the player `at.player` was updated, while the others are frozen: no other parameter that the objective
    holds, frozen ones of the player too, has a gradient, and no other player's asks for one.

    Raises: Leak on every worker, naming the first parameter.
    """
    own = {id(p) for p in engines[at.player].player.parameters() if p.requires_grad}
    others = {id(p) for name, engine in engines.items() if name != at.player for p in engine.player.parameters()}
    found = next((said for name, p in held_by(objective) if (said := wrong(name, p, own=own, others=others))), None)
    first = next((said for said in world.gather(found) if said is not None), None)
    if first is not None:
        raise Leak(f"{place(at)}: {first}; freeze it, or look at it without gradients")


def wrong(name: str, parameter: nn.Parameter, *, own: set[int], others: set[int]) -> str | None:
    """What is wrong with a parameter, in words."""
    if id(parameter) in own:
        return None
    if parameter.grad is not None and bool(parameter.grad.any()):
        return (
            f"{name} has a gradient (norm {float(parameter.grad.norm()):.3g}), though it is not this player's to move"
        )
    if id(parameter) in others and parameter.requires_grad:
        return f"{name} is another player's, and was made to ask for gradients"
    return None


def held_by(objective: "Objective") -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter that the objective holds, with its name; players last, since their names say less."""
    parts = {name: part for name, part in vars(objective).items() if name != "players"}
    for name, module in networks(parts, "", depth=DEEP):
        yield from module.named_parameters(prefix=name)
    for name, player in objective.players.items():
        yield from player.named_parameters(prefix=name)


def networks(value: Any, name: str, *, depth: int) -> Iterator[tuple[str, nn.Module]]:
    """Networks in a value, its containers, and the lists by which a network looks at another one."""
    inside: Mapping[str, Any] = {}
    if isinstance(value, nn.Module):
        yield name, value
        inside = {key: kept for key, kept in vars(value).items() if isinstance(kept, list | tuple)}
    elif isinstance(value, Mapping):
        inside = {str(key): kept for key, kept in value.items()}
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes | torch.Tensor):
        inside = {str(number): kept for number, kept in enumerate(value[:100])}
    elif is_dataclass(value):
        inside = {item.name: getattr(value, item.name) for item in fields(value)}
    for key, kept in inside.items() if depth else ():
        yield from networks(kept, f"{name}.{key}" if name else key, depth=depth - 1)
