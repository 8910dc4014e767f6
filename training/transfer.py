"""A checkpoint without its layout: what any number of workers, and another engine, can go on from.

Plain torch and ZeRO 0 keep AdamW's moments by parameter, ZeRO 1 and 2 in one flat tensor that is cut into equal parts,
one a worker. Both are the same numbers: here they are one flat tensor, in the order of the trainable parameters.
Weights are float32 in every engine, so DeepSpeed's own float32 copies of them hold nothing more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.checkpoint import Checkpoint, CheckpointError

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Whole:
    """The state of one player."""

    weights: Mapping[str, Any]
    """Its state dict."""
    moments: Mapping[str, Tensor]
    """Of AdamW, over all trainable parameters: the running means of the gradient and of its square."""
    updates: Tensor
    """Updates that AdamW has counted."""


def whole_of(checkpoint: Checkpoint, *, name: str, parameters: Sequence[nn.Parameter]) -> Whole:
    """The state of player `name`, whichever engine wrote it on however many workers.

    Raises: CheckpointError for ZeRO-3, whose weights lie in pieces.
    """
    if checkpoint.has(f"{name}/plain.pt"):
        state = checkpoint.load(f"{name}/plain.pt")
        return by_parameter(state["player"], state["optimizer"], parameters)
    if not checkpoint.has(f"{name}/mp_rank_00_model_states.pt"):
        raise CheckpointError(
            f"the checkpoint of step {checkpoint.step} was written by ZeRO-3 on {checkpoint.world} workers, and its "
            f"pieces fit only the same again: set engine.zero_stage: 3 and workers: {checkpoint.world}; or let the "
            "stage end like that, and start another one from its bundle"
        )
    state = checkpoint.load(f"{name}/mp_rank_00_model_states.pt")
    if state.get("optimizer") is not None:
        return by_parameter(state["module"], state["optimizer"], parameters)
    parts = []
    for rank in range(checkpoint.world):
        saved = checkpoint.load(f"{name}/zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
        (part,) = saved["optimizer_state_dict"]["base_optimizer_state"]["state"].values()
        parts.append(part)
    numbers = sum(parameter.numel() for parameter in parameters)
    moments = {key: torch.cat([part[key].reshape(-1) for part in parts])[:numbers] for key in MOMENTS}
    return Whole(state["module"], moments, torch.as_tensor(parts[0]["step"]))


def by_parameter(weights: Mapping[str, Any], optimizer: Mapping[str, Any], parameters: Sequence[nn.Parameter]) -> Whole:
    """The state of an AdamW that has one entry a parameter; one without a gradient has none, and its moments are 0."""
    entries = [optimizer["state"].get(number, {}) for number in range(len(parameters))]
    moments = {
        key: torch.cat(
            [
                entry.get(key, torch.zeros(p.shape)).reshape(-1).float()
                for entry, p in zip(entries, parameters, strict=True)
            ]
        )
        for key in MOMENTS
    }
    return Whole(weights, moments, torch.as_tensor(max(float(entry.get("step", 0)) for entry in entries)))


def fill(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], whole: Whole) -> None:
    """Put the moments into an AdamW with one entry a parameter."""
    pieces = {key: torch.split(flat, [p.numel() for p in parameters]) for key, flat in whole.moments.items()}
    for number, parameter in enumerate(parameters):
        state: dict[str, Tensor] = {"step": whole.updates.clone()}
        state |= {key: pieces[key][number].reshape(parameter.shape).to(parameter.device).clone() for key in MOMENTS}
        optimizer.state[parameter] = state


def fill_partition(optimizer: torch.optim.Optimizer, whole: Whole, *, rank: int) -> None:
    """Put this worker's part of the moments into the AdamW of ZeRO 1 or 2, which has one flat parameter."""
    ((flat,),) = (group["params"] for group in optimizer.param_groups)
    size = flat.numel()
    state: dict[str, Tensor] = {"step": whole.updates.clone()}
    for key in MOMENTS:
        own = whole.moments[key][rank * size : (rank + 1) * size]
        state[key] = torch.zeros_like(flat)
        state[key][: len(own)] = own.to(flat.device)
    optimizer.state[flat] = state
