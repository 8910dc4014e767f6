"""A small real adversarial objective: make the loudness of patches from noise; least squares, with feature matching."""

from typing import Any

import torch
from torch import Tensor, nn

from infra.manifest import Manifest
from models.runtime.bundle import Bundle
from training.data.draw import Draw
from training.objectives import Batch, Player, Term

PLAYERS = ("discriminator", "generator")


class Config(Manifest):
    width: int = 16


class Discriminator(Player):
    def __init__(self, width: int, generator: nn.Module) -> None:
        super().__init__()
        self.first, self.last = nn.utils.parametrizations.weight_norm(nn.Linear(16, width)), nn.Linear(width, 1)
        self.look_at = [generator]

    def judge(self, loud: Tensor) -> tuple[Tensor, Tensor]:
        features = nn.functional.leaky_relu(self.first(loud), 0.1)
        return features, self.last(features).squeeze(-1)

    def forward(self, prepared: Any, draw: Draw) -> dict[str, Term]:
        loud_BPD, mask_BP = prepared
        with torch.no_grad():
            fake_BPD = self.look_at[0].make(loud_BPD, mask_BP, draw)
        _, score = self.judge(torch.cat([loud_BPD, fake_BPD]))
        real_BP, fake_BP = score.chunk(2)
        return {
            "discriminator/loss": Term((((1 - real_BP).square() + fake_BP.square()) * mask_BP).sum(), mask_BP.sum())
        }


class Generator(Player):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, width), nn.GELU(), nn.Linear(width, 16))
        self.look_at: list[Discriminator] = []

    def make(self, loud_BPD: Tensor, mask_BP: Tensor, draw: Draw) -> Tensor:
        made: Tensor = self.net(draw.normal("z", loud_BPD.shape[1:], lengths=[int(n) for n in mask_BP.sum(1)]))
        return made

    def forward(self, prepared: Any, draw: Draw) -> dict[str, Term]:
        loud_BPD, mask_BP = prepared
        judge = self.look_at[0].judge
        fake_BPD = self.make(loud_BPD, mask_BP, draw)
        with torch.no_grad():
            real_features, _ = judge(loud_BPD)
        features, score_BP = judge(fake_BPD)
        count = mask_BP.sum()
        return {
            "generator/adversarial": Term(((1 - score_BP).square() * mask_BP).sum(), count),
            "generator/features": Term(((features - real_features).abs().mean(-1) * mask_BP).sum(), count),
            "generator/l1": Term(((fake_BPD - loud_BPD).abs().mean(-1) * mask_BP).sum(), count),
        }


class Objective:
    def __init__(self, cfg: Config, bundle: Bundle, *, seed: int) -> None:
        torch.manual_seed(seed)
        self.bundle = bundle
        generator = Generator(cfg.width)
        discriminator = Discriminator(cfg.width, generator)
        generator.look_at.append(discriminator)
        self.players = {"discriminator": discriminator, "generator": generator}
        self.weights = {
            "discriminator": {"discriminator/loss": 1.0},
            "generator": {"generator/adversarial": 1.0, "generator/features": 2.0, "generator/l1": 5.0},
        }

    def prepare(self, batch: Batch, draw: Draw) -> Any:
        parts = batch.wave_BS.view(len(batch.keys), -1, 16, 480)
        mask_BP = torch.arange(parts.shape[1])[None] < (batch.length_B // 7680)[:, None]
        return torch.log1p(100 * parts.square().mean(-1).sqrt()), mask_BP.float()

    def finish(self, batches: Any) -> Bundle:
        return self.bundle
