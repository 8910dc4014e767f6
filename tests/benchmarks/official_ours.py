"""Our side of the benchmark; see official.py.

python official_ours.py CHECKPOINT THREADS
"""

import sys
from collections.abc import Iterator
from typing import Any

import torch
from official_side import (
    SEED,
    TEXT,
    Clock,
    counted,
    matrix_rate,
    read_rate,
    serve,
    timed_each,
    training_batch,
    training_waves,
    vae_latents,
)
from safetensors.torch import save_file
from torch import Tensor, nn

from models.audiovae.streaming import StreamingDecoder
from models.backbone.flow import interpolate, path_velocity
from models.runtime.batch import steps
from models.runtime.bundle import load_bundle
from models.runtime.draws import Draws
from models.runtime.request import Request
from models.runtime.stream import generate_stream
from training.data.draw import Draw
from training.engine import PlainEngine
from training.heap import keep_freed_memory
from training.manifest import Engine, Optimizer
from training.objectives import Batch
from training.objectives.backbone import Config, Objective
from training.update import Micro, Moment, update
from training.world import World


class Side:
    """The tasks, on one checkpoint."""

    def __init__(self, folder: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.bundle = load_bundle(folder)
        self.stage: tuple[Objective, PlainEngine] | None = None
        self.steps = self.clips = 0

    def latents(self, count: int, nfe: int, guidance: float) -> Iterator[Tensor]:
        """Raw patches."""
        request = Request(
            text=TEXT,
            num_steps=nfe,
            guidance_scale=guidance or None,
            max_patches=count,
            stop_threshold=1.0,
            draws=Draws(seed=SEED),
        )
        for step in steps(self.bundle, request):
            yield step.latent_KD

    def patches(self, count: int, steps: int, guidance: float, cached: bool, out: str) -> dict[str, Any]:
        """Time of every patch of one generation, cached in any case."""
        times, made = timed_each(self.latents(count, steps, guidance))
        save_file({"latents": torch.cat(made).contiguous()}, out)
        return {"times": times}

    def flops(self, count: int, steps: int, guidance: float, cached: bool) -> dict[str, Any]:
        """Operations of patch `count`."""
        found: dict[str, Any] = {}
        made = self.latents(count, steps, guidance)
        for _ in range(count - 1):
            next(made)
        with counted(found):
            next(made)
        return found

    def vae(self, count: int, out: str) -> dict[str, Any]:
        """Time of every step of a decoded stream."""
        config = self.bundle.config
        latent = vae_latents(patches=count, patch=config.patch_size, latent=config.latent_dim)
        decoder = StreamingDecoder(self.bundle.audiovae)
        times, made = timed_each(decoder.push(part) for part in latent.split(config.patch_size, dim=1))
        save_file({"audio": torch.cat(made, dim=-1).flatten()}, out)
        return {"times": times}

    def first_audio(self, steps: int, out: str) -> dict[str, Any]:
        """Time from the request to the first samples."""
        clock = Clock()
        stream = generate_stream(self.bundle, TEXT, num_steps=steps, draws=Draws(seed=SEED))
        first = next(chunk for chunk in stream if len(chunk.wave_S))
        times = [clock.read()]
        save_file({"audio": first.wave_S.contiguous()}, out)
        return {"times": times}

    def train(self, seconds: float, out: str) -> dict[str, Any]:
        """Forward and backward of the head over one utterance."""
        backbone, config = self.bundle.backbone, self.bundle.config
        assert backbone is not None
        batch = training_batch(
            seconds=seconds, patch=config.patch_size, latent=config.latent_dim, hidden=config.hidden_size
        )
        backbone.requires_grad_(True).zero_grad()
        hidden_BPH = batch["hidden"].requires_grad_()
        clock = Clock()
        said_BFD = backbone.velocity(
            hidden_BPH,
            batch["clean"],
            interpolate(batch["noise"], batch["clean"], time=batch["time"]),
            time_B=batch["time"],
            speaker_BH=backbone.speaker(batch["xvector"]),
        )
        loss = nn.functional.mse_loss(said_BFD, path_velocity(batch["noise"], batch["clean"]))
        loss.backward()
        spent = clock.read()
        head = backbone.velocity_field_predictor
        grads = {name: p.grad for name, p in head.named_parameters() if p.grad is not None}
        assert hidden_BPH.grad is not None
        save_file({"loss": loss.detach().reshape(1), "hidden": hidden_BPH.grad, **grads}, out)
        return {"times": [spent]}

    def step(self, seconds: list[float], again: bool, out: str) -> dict[str, Any]:
        """A whole training step from waveforms: frozen networks, forward, backward, AdamW. `again`: of the clips of
        the step before, whose latents and voices are known, as in a second epoch or from shards that have them."""
        if self.stage is None:
            keep_freed_memory()  # as every worker does
            settings = Optimizer(lr=1e-5, weight_decay=0.01, clip=1.0)
            objective = Objective(Config(), self.bundle, seed=SEED)
            player = objective.players["backbone"].train()
            engine = PlainEngine(player, manifest=Engine(name="plain"), optimizer=settings, world=World())
            self.stage = objective, engine
        objective, engine = self.stage
        self.steps += 1
        waves = training_waves(seconds, patch_samples=7680)
        if not again:
            self.clips = self.steps
        keys = [f"{self.clips}-{number}" for number in range(len(waves))]
        nobody: list[str | None] = [None] * len(waves)
        batch = Batch(
            keys=keys,
            wave_BS=nn.utils.rnn.pad_sequence(waves, batch_first=True),
            length_B=torch.tensor([len(wave_S) for wave_S in waves]),
            texts=[TEXT] * len(waves),
            languages=nobody,
            speakers=nobody,
        )
        draw = Draw(SEED, self.steps, keys)
        clock = Clock()
        with torch.no_grad():
            micro = Micro(objective.prepare(batch, draw), draw)
        found, _ = update(
            engine,
            [micro],
            weights=objective.weights["backbone"],
            lr=1e-5,
            world=World(),
            at=Moment(stage="benchmark", step=self.steps, player="backbone"),
        )
        spent = clock.read()
        save_file({"loss": torch.tensor([sum(found.values())])}, out)
        return {"times": [spent]}

    def epochs(self, seconds: list[float], count: int, out: str) -> dict[str, Any]:
        """The mean step of so many epochs of the same clips, the first one included."""
        spent = [self.step(seconds, number > 0, out)["times"][0] for number in range(count)]
        return {"times": [[sum(of) / count for of in zip(*spent, strict=True)]]}

    def machine(self) -> dict[str, Any]:
        """What the machine can do with these threads; bytes of the head's weights, and of a unit's keys and values."""
        backbone = self.bundle.backbone
        assert backbone is not None
        head = sum(p.numel() * 4 for p in backbone.velocity_field_predictor.blocks.parameters())
        steered = sum(p.numel() * 4 for n, p in backbone.named_parameters() if "blocks" in n and "adaLN" in n)
        shape, unit = self.bundle.config.dit, self.bundle.config.unit
        return {
            "flops_s": matrix_rate(),
            "bytes_s": read_rate(),
            "head_bytes": head - steered,
            "unit": unit,
            "unit_bytes": 4 * 2 * unit * shape.hidden_size * shape.num_layers,
        }


if __name__ == "__main__":
    side = Side(sys.argv[1], int(sys.argv[2]))
    serve(
        {
            name: getattr(side, name)
            for name in ("patches", "flops", "vae", "first_audio", "train", "step", "epochs", "machine")
        }
    )
