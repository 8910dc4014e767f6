"""Randomness of a step, keyed by (seed, step, sample): the world size and the batch never enter it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """Every random number of one micro-batch. Sample `b` gets the same numbers in whatever batch it travels."""

    seed: int
    step: int
    keys: Sequence[str]

    def generator(self, name: str, number: int) -> torch.Generator:
        """The generator of one named draw for sample `number` of the batch."""
        text = f"{self.seed}:{self.step}:{name}:{self.keys[number]}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
        return torch.Generator().manual_seed(seed)

    def normal(self, name: str, shape: Sequence[int], *, lengths: Sequence[int] | None = None) -> Tensor:
        """Standard normal, shape `(B, *shape)`. With `lengths`, sample b draws only its first `lengths[b]` rows of
        the first axis, zeros after: padding does not change what a sample gets."""
        rows = []
        for number in range(len(self.keys)):
            generator = self.generator(name, number)
            if lengths is None:
                rows.append(torch.randn(tuple(shape), generator=generator))
                continue
            own, row = int(lengths[number]), torch.zeros(tuple(shape))
            row[:own] = torch.randn((own, *shape[1:]), generator=generator)
            rows.append(row)
        return torch.stack(rows)

    def uniform(self, name: str, shape: Sequence[int] = ()) -> Tensor:
        """Uniform in [0, 1), shape `(B, *shape)`."""
        return torch.stack([torch.rand(tuple(shape), generator=self.generator(name, n)) for n in range(len(self.keys))])
