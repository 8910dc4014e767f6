"""Transformer blocks through torch.compile: their norms, modulations, activations and casts become few kernels.

A step of the backbone is made of thousands of small operations on tensors that fit no cache; between the products of
matrices they are most of what a GPU does. One compiled block serves all of its kind, and every length.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from infra.manifest import ManifestError
from models.backbone.dit import DiT
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
        block.forward = torch.compile(block.forward, backend=backend, dynamic=True)
    for head in heads_of(networks):
        head.flex = True
    return len(blocks)


@contextmanager
def as_written(networks: Sequence[nn.Module]) -> Iterator[None]:
    """While it lasts, nothing is compiled, and the heads see masks of all pairs: what can be counted."""
    flexible = [head for head in heads_of(networks) if head.flex]
    for head in flexible:
        head.flex = False
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for head in flexible:
            head.flex = True


def heads_of(networks: Sequence[nn.Module]) -> Iterator[DiT]:
    """The flow-matching heads, each once."""
    found = {id(one): one for network in networks for one in network.modules() if isinstance(one, DiT)}
    yield from found.values()
