"""Activation checkpointing: a Transformer block keeps its input alone, and is computed again when its gradient is due.

torch.utils.checkpoint without reentrance. The state of the random generators is not kept: no network that is trained
drops activations (dropout.py), so a block computed again is the same block. Where no gradient is asked for (validation,
generation, rollouts, teachers) nothing changes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from infra.manifest import ManifestError


def recompute_blocks(players: Mapping[str, nn.Module], *, stage: str) -> int:
    """Let the Transformer blocks of all players be computed again; how many there are.

    Raises: ManifestError where there is none.
    """
    blocks = list(blocks_of(players.values()))
    if not blocks:
        names = ", ".join(players)
        raise ManifestError(
            f"stage {stage}",
            [f"engine.activation_checkpointing: {names} has no Transformer block to compute again; set it to false"],
        )
    for block in blocks:
        block.forward = partial(computed_again, block.forward)
    return len(blocks)


def blocks_of(networks: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The Transformer blocks of networks, each once."""
    from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

    from models.backbone.dit import Block
    from models.backbone.semantic_encoder import Layer

    kinds = (Block, Layer, Qwen2DecoderLayer)
    found = {id(module): module for network in networks for module in network.modules() if isinstance(module, kinds)}
    yield from found.values()


def computed_again(forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """`forward`, which runs a second time in the backward pass instead of keeping what it made."""
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    from torch.utils.checkpoint import checkpoint

    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, **named)
