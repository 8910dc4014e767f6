"""A wrong objective: its player looks through a network that nobody has frozen, or wakes the other player."""

from typing import Any, Literal

import torch
from torch import nn

from infra.manifest import Manifest
from models.runtime.bundle import Bundle
from training.data.draw import Draw
from training.objectives import Batch, Player, Term

PLAYERS = ("first", "second")


class Config(Manifest):
    leak: Literal["none", "teacher", "frozen", "other", "wakes"] = "none"


class Net(Player):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.net = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4)
        self.frozen.requires_grad_(False)
        self.looked_at: list[nn.Module] = []
        self.through = False
        self.wakes = False

    def forward(self, prepared: Any, draw: Draw) -> dict[str, Term]:
        made_BD = self.frozen(self.net(prepared))
        if self.wakes:
            self.looked_at[0].requires_grad_(True)
        with torch.set_grad_enabled(self.through and torch.is_grad_enabled()):
            seen_BD = self.looked_at[0](prepared)
        made_BD = made_BD + seen_BD
        return {f"{self.name}/loss": Term(made_BD.square().sum(), torch.tensor(float(len(prepared))))}


class Objective:
    def __init__(self, cfg: Config, bundle: Bundle, *, seed: int) -> None:
        torch.manual_seed(seed)
        self.bundle = bundle
        first, second, self.teacher = Net("first"), Net("second"), nn.Linear(4, 4)
        if cfg.leak != "teacher":
            self.teacher.requires_grad_(False)
        first.looked_at.append(self.teacher)
        first.through = True
        second.looked_at.append(first.net)
        second.through = second.wakes = cfg.leak == "other"
        second.wakes |= cfg.leak == "wakes"
        self.players = {"first": first, "second": second}
        if cfg.leak == "frozen":
            first.frozen.weight.grad = torch.ones(4, 4)
        self.weights = {"first": {"first/loss": 1.0}, "second": {"second/loss": 1.0}}

    def prepare(self, batch: Batch, draw: Draw) -> Any:
        return batch.wave_BS[:, :4] + 0.1

    def finish(self, batches: Any) -> Bundle:
        return self.bundle
