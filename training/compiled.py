"""Transformer blocks through torch.compile: their norms, modulations, activations and casts become few kernels.

A step of the backbone is made of thousands of small operations on tensors that fit no cache; between the products of
matrices they are most of what a GPU does. One compiled block serves all of its kind. The first batch is compiled for
its own shape; where the next has another, once more with those sizes as symbols, and that serves all that follow.
"""

from collections.abc import Sequence

import torch
from torch import nn

from infra.manifest import ManifestError
from training.recompute import blocks_of


def compile_blocks(networks: Sequence[nn.Module], *, stage: str, backend: str = "inductor") -> int:
    """Compile the Transformer blocks of players, and of what is frozen beside them (teachers); how many there are.

    Raises: ManifestError where there is none.
    """
    blocks = list(blocks_of(networks))
    if not blocks:
        raise ManifestError(
            f"stage {stage}", ["engine.compile: there is no Transformer block to compile; set it to false"]
        )
    for block in blocks:
        block.forward = torch.compile(block.forward, backend=backend)
    return len(blocks)
