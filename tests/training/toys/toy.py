"""A small real objective: predict the loudness of a patch from a noisy look at it; two terms with unlike counts."""

from typing import Any

import torch
from torch import Tensor, nn

from infra.manifest import Manifest
from models.runtime.bundle import Bundle
from training.data.draw import Draw
from training.objectives import Batch, Player, Term

PLAYERS = ("net",)
ZERO_LIMIT = 3


class Config(Manifest):
    width: int = 16
    dropout: float = 0.0
    nan_at: int | None = None
    """The step at which a loss becomes infinite."""


def loudness(batch: Batch) -> tuple[Tensor, Tensor]:
    """Loudness of sixteen parts of every patch, and which patches are speech: (B, P, 16), (B, P)."""
    parts = batch.wave_BS.view(len(batch.keys), -1, 16, 480)
    mask_BP = torch.arange(parts.shape[1])[None] < (batch.length_B // 7680)[:, None]
    return torch.log1p(100 * parts.square().mean(-1).sqrt()), mask_BP.float()


class Net(Player):
    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.nan_at = cfg.nan_at
        self.guess = nn.Sequential(
            nn.Linear(16, cfg.width), nn.GELU(), nn.Dropout(cfg.dropout), nn.Linear(cfg.width, 16)
        )
        self.length = nn.Linear(16, 1)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, prepared: Any, draw: Draw) -> dict[str, Term]:
        loud_BPD, mask_BP = prepared
        lengths = [int(n) for n in mask_BP.sum(1)]
        noisy = loud_BPD + draw.normal("look", loud_BPD.shape[1:], lengths=lengths)
        error_BP = (self.guess(noisy) - loud_BPD).square().mean(-1)
        long_B = self.length((loud_BPD * mask_BP[..., None]).sum(1) / mask_BP.sum(1, keepdim=True)).squeeze(1)
        error = (error_BP * mask_BP).sum()
        if draw.step == self.nan_at:
            error = error / 0
        return {
            "toy/guess": Term(error, mask_BP.sum()),
            "toy/length": Term((long_B - mask_BP.sum(1) / 10).square().sum(), torch.tensor(float(len(draw.keys)))),
        }


class Objective:
    def __init__(self, cfg: Config, bundle: Bundle, *, seed: int) -> None:
        torch.manual_seed(seed)
        self.bundle = bundle
        self.net = Net(cfg)
        self.players = {"net": self.net}
        self.weights = {"net": {"toy/guess": 1.0, "toy/length": 0.5}}

    def prepare(self, batch: Batch, draw: Draw) -> Any:
        return loudness(batch)

    def finish(self, batches: Any) -> Bundle:
        self.bundle.training["toy"] = {key: value.clone() for key, value in self.net.state_dict().items()}
        return self.bundle
