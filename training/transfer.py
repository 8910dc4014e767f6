"""A checkpoint without its layout: what any number of workers, and another engine, can go on from.

Plain torch and ZeRO 0 keep AdamW's moments by parameter, ZeRO 1 and 2 in one flat tensor that is cut into equal parts,
one a worker. ZeRO 3 cuts every parameter, and its moments alike, into equal parts; a worker's parts of all parameters
lie one behind the other. All are the same numbers: here they are one flat tensor, in the order of the trainable
parameters. Weights are float32 in every engine, so DeepSpeed's own float32 copies of them hold nothing more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.checkpoint import Checkpoint

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


def whole_of(checkpoint: Checkpoint, *, name: str, shapes: Sequence[torch.Size]) -> Whole:
    """The state of player `name`, whichever engine wrote it on however many workers.

    `shapes`: those of the trainable parameters, in order.
    """
    if checkpoint.has(f"{name}/plain.pt"):
        state = checkpoint.load(f"{name}/plain.pt")
        return by_parameter(state["player"], state["optimizer"], shapes)
    if not checkpoint.has(f"{name}/mp_rank_00_model_states.pt"):
        return of_pieces(checkpoint, name=name)
    state = checkpoint.load(f"{name}/mp_rank_00_model_states.pt")
    if state.get("optimizer") is not None:
        return by_parameter(state["module"], state["optimizer"], shapes)
    parts = []
    for rank in range(checkpoint.world):
        saved = checkpoint.load(f"{name}/zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
        (part,) = saved["optimizer_state_dict"]["base_optimizer_state"]["state"].values()
        parts.append(part)
    numbers = sum(shape.numel() for shape in shapes)
    moments = {key: torch.cat([part[key].reshape(-1) for part in parts])[:numbers] for key in MOMENTS}
    return Whole(state["module"], moments, torch.as_tensor(parts[0]["step"]))


def of_pieces(checkpoint: Checkpoint, *, name: str) -> Whole:
    """The state of a player that ZeRO-3 wrote: every parameter joined out of the workers' parts of it."""
    ranks = range(checkpoint.world)
    models = [checkpoint.load(f"{name}/zero_pp_rank_{rank}_mp_rank_00_model_states.pt") for rank in ranks]
    optimizers = [
        checkpoint.load(f"{name}/zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")["optimizer_state_dict"]
        for rank in ranks
    ]
    states = [list(one["optimizer_state_dict"]["state"].values()) for one in optimizers]
    own = {"weight": [torch.cat([flat.reshape(-1) for flat in one["fp32_flat_groups"]]) for one in optimizers]}
    own |= {key: [torch.cat([part[key].reshape(-1) for part in state]) for state in states] for key in MOMENTS}
    first = models[0]
    weights = {key: first["module"][key] for key in first["buffer_names"]}
    for key, shape in first["frozen_param_shapes"].items():
        weights[key] = joined([model["frozen_param_fragments"][key] for model in models], shape)
    moments: dict[str, list[Tensor]] = {key: [] for key in MOMENTS}
    at = 0
    for key, shape in ((key, shape) for group in first["param_shapes"] for key, shape in group.items()):
        size = -(-shape.numel() // checkpoint.world)
        weights[key] = joined([flat[at : at + size] for flat in own["weight"]], shape)
        for moment, flats in moments.items():
            flats.append(joined([flat[at : at + size] for flat in own[moment]], shape).reshape(-1))
        at += size
    weights |= {key: weights[same] for key, same in dict(first["shared_params"]).items()}
    return Whole(
        weights, {key: torch.cat(flats) for key, flats in moments.items()}, torch.as_tensor(states[0][0]["step"])
    )


def joined(parts: Sequence[Tensor], shape: torch.Size) -> Tensor:
    """A tensor out of equal parts, of which the last ones end with padding."""
    return torch.cat([part.reshape(-1) for part in parts])[: shape.numel()].reshape(shape)


def by_parameter(weights: Mapping[str, Any], optimizer: Mapping[str, Any], shapes: Sequence[torch.Size]) -> Whole:
    """The state of an AdamW that has one entry a parameter; one without a gradient has none, and its moments are 0."""
    entries = [optimizer["state"].get(number, {}) for number in range(len(shapes))]
    moments = {
        key: torch.cat(
            [
                entry.get(key, torch.zeros(shape)).reshape(-1).float()
                for entry, shape in zip(entries, shapes, strict=True)
            ]
        )
        for key in MOMENTS
    }
    return Whole(weights, moments, torch.as_tensor(max(float(entry.get("step", 0)) for entry in entries)))


def shapes_of(parameters: Sequence[nn.Parameter]) -> list[torch.Size]:
    """Shapes of parameters; ZeRO-3 leaves those that it has cut empty, and keeps their shape beside them."""
    return [torch.Size(getattr(parameter, "ds_shape", parameter.shape)) for parameter in parameters]


def fill(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], whole: Whole) -> None:
    """Put the moments into an AdamW with one entry a parameter."""
    pieces = {key: torch.split(flat, [p.numel() for p in parameters]) for key, flat in whole.moments.items()}
    for number, parameter in enumerate(parameters):
        state = counted(optimizer, whole, like=parameter)
        state |= {key: pieces[key][number].reshape(parameter.shape).to(parameter.device).clone() for key in MOMENTS}
        optimizer.state[parameter] = state


def counted(optimizer: torch.optim.Optimizer, whole: Whole, *, like: Tensor) -> dict[str, Tensor]:
    """The number of updates as this AdamW keeps it: a fused one beside the parameter, any other on the CPU."""
    return {"step": whole.updates.clone().to(like.device if optimizer.defaults.get("fused") else "cpu")}


def fill_partition(optimizer: torch.optim.Optimizer, whole: Whole, *, rank: int) -> None:
    """Put this worker's part of the moments into the AdamW of ZeRO 1 or 2, which has one flat parameter."""
    ((flat,),) = (group["params"] for group in optimizer.param_groups)
    size = flat.numel()
    state = counted(optimizer, whole, like=flat)
    for key in MOMENTS:
        own = whole.moments[key][rank * size : (rank + 1) * size]
        state[key] = torch.zeros_like(flat)
        state[key][: len(own)] = own.to(flat.device)
    optimizer.state[flat] = state


def fill_pieces(optimizer: Any, parameters: Sequence[nn.Parameter], whole: Whole, *, rank: int) -> None:
    """Put this worker's parts of the moments into the AdamW of DeepSpeed's ZeRO-3 `optimizer`: one flat parameter a
    group, in which a part of each parameter of the group follows the other."""
    starts, at = {}, 0
    for parameter, shape in zip(parameters, shapes_of(parameters), strict=True):
        starts[parameter] = at, shape.numel()
        at += shape.numel()
    for group, flat in zip(optimizer.fp16_groups, optimizer.fp32_partitioned_groups_flat, strict=True):
        state = counted(optimizer.optimizer, whole, like=flat)
        for key in MOMENTS:
            state[key] = torch.zeros_like(flat, requires_grad=False)
            at = 0
            for parameter in group:
                start, numbers = starts[parameter]
                size = parameter.partition_numel()
                own = whole.moments[key][start : start + numbers][rank * size : (rank + 1) * size]
                state[key][at : at + len(own)] = own.to(flat.device)
                at += size
        optimizer.optimizer.state[flat] = state
