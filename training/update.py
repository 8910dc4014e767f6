"""One update of one player: losses over all workers and micro-batches, the guard, the gradient, the step."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.data.draw import Draw
from training.engine import Engine
from training.objectives import Term
from training.world import World


class NonFinite(RuntimeError):  # noqa: N818 - reads as what happened
    """A loss that is not a number: the run stops before the update. The message names where it came from."""


@dataclass(frozen=True)
class Micro:
    """One micro-batch of this worker, prepared."""

    prepared: Any
    draw: Draw
    idle: bool = False
    """It stands in for a missing one and must not count."""


@dataclass(frozen=True)
class Moment:
    """Where in the run we are, for messages."""

    stage: str
    step: int
    player: str


Table = Mapping[str, tuple[float, float]]
"""Term -> (total, count), over all workers and micro-batches."""


def update(
    engine: Engine, micros: Sequence[Micro], *, weights: Mapping[str, float], lr: float, world: World, at: Moment
) -> tuple[dict[str, float], float]:
    """Move the player once; the value of every term, and the norm of the gradient.

    Every term is normalized by its count over all workers and micro-batches, so how a step's samples are split
    changes nothing. A player that knows its counts without its networks (`Player.counts`) goes forward and back once a
    micro-batch. Of any other the counts come from the forward pass where there is one micro-batch; with more, from a
    pass without gradients before, which costs about a third more time and keeps only one graph in memory.

    Raises: NonFinite before the update, on every worker.
    """
    asked = [counts_of(engine, micro) for micro in micros]
    known = [counts for counts in asked if counts is not None]
    if len(known) == len(micros):
        ahead = reduced([{name: Term(count, count) for name, count in counts.items()} for counts in known], world=world)
        found = []
        for micro in micros:
            terms = call(engine, micro, grad=True)
            engine.backward(weighted(terms, table=ahead, weights=weights))
            found.append({name: Term(term.total.detach(), term.count) for name, term in terms.items()})
        table = reduced(found, world=world)
        stop_unless_finite(found, micros, table=table, world=world, at=at)
        stop_unless_as_told(table, ahead, at=at)
    else:
        found = [call(engine, micro, grad=len(micros) == 1) for micro in micros]
        table = reduced(found, world=world)
        stop_unless_finite(found, micros, table=table, world=world, at=at)
        for micro in micros:
            terms = found[0] if len(micros) == 1 else call(engine, micro, grad=True)
            engine.backward(weighted(terms, table=table, weights=weights))
    norm = engine.step(lr=lr)
    if not math.isfinite(norm):
        raise NonFinite(f"{place(at)}: the gradient is not finite (norm {norm}), though every loss is")
    return {name: total / count for name, (total, count) in table.items() if count > 0}, norm


def counts_of(engine: Engine, micro: Micro) -> Mapping[str, Tensor] | None:
    """The counts of a micro-batch, where the player knows them; those of one that stands in for a missing one are 0."""
    counts = engine.player.counts(micro.prepared, micro.draw)
    if counts is None or not micro.idle:
        return counts
    return {name: count * 0 for name, count in counts.items()}


def stop_unless_as_told(table: Table, ahead: Table, *, at: Moment) -> None:
    """Raises: ValueError where a player counted otherwise than it had said, since its gradient is wrong then."""
    for name, (_, count) in ahead.items():
        if not math.isclose(table[name][1], count, rel_tol=1e-6):
            raise ValueError(f"{place(at)}: {name} counts {table[name][1]:g}, and {count:g} was told by `counts`")


def call(engine: Engine, micro: Micro, *, grad: bool = False) -> dict[str, Term]:
    """The terms of a micro-batch; those of one that stands in for a missing one are zero."""
    with torch.set_grad_enabled(grad):
        terms = engine(micro.prepared, micro.draw)
    if not micro.idle:
        return terms
    return {name: Term(term.total * 0, term.count * 0) for name, term in terms.items()}


def reduced(micros: Sequence[Mapping[str, Term]], *, world: World) -> Table:
    """Totals and counts of every term, summed over micro-batches and workers in float64."""
    names = list(micros[0])
    if any(list(terms) != names for terms in micros):
        raise ValueError(f"a player must report the same terms for every batch, in one order; {names} and others")
    rows = [[float(part.detach()) for part in terms[name]] for terms in micros for name in names]
    sums_NT = torch.tensor(rows, dtype=torch.float64)
    sums = world.sum(sums_NT.view(len(micros), len(names), 2).sum(0).to(world.device)).cpu()
    return {name: (float(sums[n, 0]), float(sums[n, 1])) for n, name in enumerate(names)}


def weighted(terms: Mapping[str, Term], *, table: Table, weights: Mapping[str, float]) -> Tensor:
    """This micro-batch's part of the loss: each term over its global count, times its weight."""
    unknown = sorted(set(weights) - set(terms))
    if unknown:
        raise ValueError(f"weights name terms that the player does not report: {unknown}; it reports {sorted(terms)}")
    parts = [weight * terms[name].total / max(table[name][1], 1e-12) for name, weight in weights.items()]
    return torch.stack([part.reshape(()) for part in parts]).sum()


def stop_unless_finite(
    terms: Sequence[Mapping[str, Term]], micros: Sequence[Micro], *, table: Table, world: World, at: Moment
) -> None:
    """Raises: NonFinite on every worker when a term is not finite on any, naming the samples."""
    bad = [name for name, (total, count) in table.items() if not (math.isfinite(total) and math.isfinite(count))]
    if not bad:
        return
    own = [
        f"rank {world.rank}: {', '.join(micro.draw.keys)}"
        for micro, found in zip(micros, terms, strict=True)
        if not all(bool(torch.isfinite(found[name].total.detach())) for name in bad)
    ]
    where = "; ".join(line for lines in world.gather(own) for line in lines)
    raise NonFinite(f"{place(at)}: {', '.join(bad)} is not finite; the samples of those batches are {where}")


def place(at: Moment) -> str:
    """The moment, in words."""
    return f"stage {at.stage}, step {at.step + 1}, player {at.player}"


@contextmanager
def only(player: str, engines: Mapping[str, Engine]) -> Iterator[None]:
    """Freeze every other player, so that looking at its network leaves no gradient in it."""
    with frozen(engine.player for name, engine in engines.items() if name != player):
        yield


@contextmanager
def frozen(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Parameters that are trained ask for no gradient, until the end of the block."""
    held = [parameter for network in networks for parameter in network.parameters() if parameter.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)
