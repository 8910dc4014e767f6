"""What moves a player: plain torch, or DeepSpeed (zero.py). One interface, the same update up to the order of sums."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from training.checkpoint import Checkpoint, CheckpointWriter
from training.data.draw import Draw
from training.manifest import Engine as EngineManifest
from training.manifest import Optimizer
from training.objectives import Player, Term
from training.transfer import fill, shapes_of, whole_of
from training.world import World


class Engine(Protocol):
    """Moves one player. `backward` once a micro-batch, `step` after the last of them."""

    player: Player
    """The raw network."""

    def __call__(self, prepared: Any, draw: Draw) -> dict[str, Term]:
        """The player's terms, through the engine."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss`, this worker's part of the sum over workers and micro-batches."""

    def step(self, *, lr: float) -> float:
        """Update at learning rate `lr`; the norm of the whole gradient before clipping."""

    def whole(self) -> AbstractContextManager[None]:
        """While it lasts, rank 0 sees every weight of the player. All ranks enter it together."""

    def save(self, writer: CheckpointWriter, *, name: str) -> None:
        """Write this rank's part of the state under folder `name`. All ranks call it."""

    def load(self, checkpoint: Checkpoint, *, name: str) -> None:
        """Take the state back, bit for bit, as the same engine wrote it on as many workers."""

    def adopt(self, checkpoint: Checkpoint, *, name: str) -> None:
        """Take the state of another number of workers, or of another engine. All ranks call it."""


def engine_name(manifest: EngineManifest) -> str:
    """Engines of one name write the same files."""
    return "plain" if manifest.name == "plain" else f"ZeRO-{manifest.zero_stage}"


def make_engine(player: Player, *, manifest: EngineManifest, optimizer: Optimizer, world: World) -> Engine:
    """The engine that the manifest names, around a player that lies on the world's device."""
    if manifest.dtype == "bfloat16":
        player.forward = precision(manifest, world.device)(player.forward)  # type: ignore[method-assign]
    if manifest.name == "plain":
        return PlainEngine(player, manifest=manifest, optimizer=optimizer, world=world)
    from training.zero import DeepSpeedEngine

    return DeepSpeedEngine(player, manifest=manifest, optimizer=optimizer, world=world)


def precision(manifest: EngineManifest, device: torch.device) -> torch.autocast:
    """What networks compute in: autocast, switched on for bfloat16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=manifest.dtype == "bfloat16")


def adamw(player: Player, *, optimizer: Optimizer) -> torch.optim.AdamW:
    """AdamW over what is trainable, by one kernel that reads and writes every number once; torch's defaults make
    several passes over memory, and need as much of it again as the gradient."""
    return torch.optim.AdamW(
        trainable(player),
        fused=True,
        lr=optimizer.lr,
        betas=optimizer.betas,
        eps=optimizer.eps,
        weight_decay=optimizer.weight_decay,
    )


def trainable(player: Player) -> list[torch.nn.Parameter]:
    """Parameters that an optimizer may move."""
    return [parameter for parameter in player.parameters() if parameter.requires_grad]


def norm_of(parameters: list[torch.nn.Parameter]) -> Tensor:
    """2-norm of the gradient of all parameters together."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


class PlainEngine:
    """torch alone: gradients are summed over workers in one flat tensor, then clipped, then AdamW."""

    def __init__(self, player: Player, *, manifest: EngineManifest, optimizer: Optimizer, world: World) -> None:
        self.player, self.world, self.clip = player, world, optimizer.clip
        self.parameters = trainable(player)
        self.optimizer = adamw(player, optimizer=optimizer)
        if world.size > 1:
            for tensor in [*player.parameters(), *player.buffers()]:
                torch.distributed.broadcast(tensor.data, src=0)

    def __call__(self, prepared: Any, draw: Draw) -> dict[str, Term]:
        terms: dict[str, Term] = self.player(prepared, draw)
        return terms

    def backward(self, loss: Tensor) -> None:
        torch.autograd.backward(loss)

    def step(self, *, lr: float) -> float:
        # A parameter without a gradient counts as one with a zero gradient, as it does for ZeRO's flat buffers.
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.world.size > 1:
            self.sum_gradients()
        norm = norm_of(self.parameters)
        if self.clip is not None and bool(norm + 1e-6 > self.clip):  # else it would multiply every number by one
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def sum_gradients(self) -> None:
        """Over workers, in one flat tensor."""
        flat = torch.cat([torch.as_tensor(p.grad).reshape(-1) for p in self.parameters])
        self.world.sum(flat)
        sizes = [p.numel() for p in self.parameters]
        for parameter, grad in zip(self.parameters, torch.split(flat, sizes), strict=True):
            parameter.grad = grad.view_as(parameter)

    def whole(self) -> AbstractContextManager[None]:
        return nullcontext()

    def save(self, writer: CheckpointWriter, *, name: str) -> None:
        if self.world.rank == 0:
            state = {"player": self.player.state_dict(), "optimizer": self.optimizer.state_dict()}
            writer.save(f"{name}/plain.pt", state)

    def load(self, checkpoint: Checkpoint, *, name: str) -> None:
        state = checkpoint.load(f"{name}/plain.pt")
        self.player.load_state_dict(state["player"])
        for group in state["optimizer"]["param_groups"]:
            group["fused"] = True  # also where a checkpoint of before was written by another kernel
        self.optimizer.load_state_dict(state["optimizer"])

    def adopt(self, checkpoint: Checkpoint, *, name: str) -> None:
        whole = whole_of(checkpoint, name=name, shapes=shapes_of(self.parameters))
        self.player.load_state_dict(whole.weights)
        fill(self.optimizer, self.parameters, whole)
