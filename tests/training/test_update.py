"""A player that tells its counts goes forward once a micro-batch, with the same gradient; a wrong count stops it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.data.draw import Draw
from training.engine import PlainEngine
from training.manifest import Engine, Optimizer
from training.objectives import Player, Term
from training.update import Micro, Moment, NonFinite, update
from training.world import World


class Line(Player):
    """y = w x; counts numbers."""

    def __init__(self, told: float | None) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(2.0))
        self.told, self.calls = told, 0

    def forward(self, prepared: Any, draw: Draw) -> dict[str, Term]:
        self.calls += 1
        return {"line/square": Term((self.w * prepared).square().sum(), torch.tensor(float(len(prepared))))}

    def counts(self, prepared: Any, draw: Draw) -> dict[str, Tensor] | None:
        return None if self.told is None else {"line/square": torch.tensor(len(prepared) * self.told)}


def moved(player: Line, *parts: list[float], idle: bool = False) -> dict[str, float]:
    engine = PlainEngine(player, manifest=Engine(name="plain"), optimizer=Optimizer(lr=0.1), world=World())
    micros = [Micro(torch.tensor(part), Draw(0, 0, ["a"])) for part in parts]
    micros += [Micro(torch.ones(5), Draw(0, 0, ["b"]), idle=True)] * idle
    at = Moment("s", 0, "line")
    return update(engine, micros, weights={"line/square": 1.0}, lr=0.1, world=World(), at=at)[0]


@pytest.mark.parametrize("idle", [False, True])
def test_counts_that_are_told_save_a_pass_and_change_nothing(idle: bool) -> None:
    asked, telling = Line(None), Line(1.0)
    assert moved(asked, [1.0, 2.0], [3.0], idle=idle) == moved(telling, [1.0, 2.0], [3.0], idle=idle)
    assert torch.equal(asked.w, telling.w)
    assert asked.calls == 2 * telling.calls


def test_a_count_that_was_told_wrong_stops_before_the_update() -> None:
    player = Line(2.0)
    with pytest.raises(ValueError, match="line/square counts 3, and 6 was told"):
        moved(player, [1.0, 2.0], [3.0])
    assert float(player.w.detach()) == 2.0


def test_an_infinite_loss_stops_before_the_update_where_counts_are_told() -> None:
    player = Line(1.0)
    with pytest.raises(NonFinite, match="line/square is not finite; the samples of those batches are rank 0: a"):
        moved(player, [1.0, 2.0], [float("inf")])
    assert float(player.w.detach()) == 2.0
