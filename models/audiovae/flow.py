"""The flow of the flow-regularized posterior: used while training only, dropped at inference.

Mean-only residual couplings with channel flips between them (VITS; KALL-E's Flow-VAE): the Jacobian's determinant is
1, and because the last layer of each coupling starts at zero the whole starts as a permutation of the channels.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm


class GatedStack(nn.Module):
    """Causal WaveNet: gated convolutions with a residual and a skip path."""

    def __init__(self, hidden: int, *, kernel: int, layers: int) -> None:
        super().__init__()
        self.reach, self.hidden = kernel - 1, hidden
        self.gates = nn.ModuleList(weight_norm(nn.Conv1d(hidden, 2 * hidden, kernel)) for _ in range(layers))
        widths = [2 * hidden] * (layers - 1) + [hidden]
        self.mixes = nn.ModuleList(weight_norm(nn.Conv1d(hidden, width, 1)) for width in widths)

    def forward(self, x_BHF: Tensor) -> Tensor:
        """Shapes: (B, H, F) -> (B, H, F)."""
        total = torch.zeros_like(x_BHF)
        for gate, mix in zip(self.gates, self.mixes, strict=True):
            value, door = gate(functional.pad(x_BHF, (self.reach, 0))).chunk(2, dim=1)
            mixed = mix(torch.tanh(value) * torch.sigmoid(door))
            if mixed.shape[1] == 2 * self.hidden:
                x_BHF = x_BHF + mixed[:, : self.hidden]
            total = total + mixed[:, -self.hidden :]
        return total


class Coupling(nn.Module):
    """The second half of the channels is moved by a function of the first half."""

    def __init__(self, width: int, *, hidden: int, kernel: int, layers: int) -> None:
        super().__init__()
        self.split_at = width // 2
        self.widen = nn.Conv1d(self.split_at, hidden, 1)
        self.stack = GatedStack(hidden, kernel=kernel, layers=layers)
        self.narrow = nn.Conv1d(hidden, width - self.split_at, 1)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(cast(Tensor, self.narrow.bias))

    def forward(self, x_BDF: Tensor, *, inverse: bool = False) -> Tensor:
        kept, moved = x_BDF[:, : self.split_at], x_BDF[:, self.split_at :]
        shift = self.narrow(self.stack(self.widen(kept)))
        return torch.cat([kept, moved - shift if inverse else moved + shift], dim=1)


class PosteriorFlow(nn.Module):
    """z to z', whose prior is standard normal."""

    def __init__(self, width: int, *, hidden: int = 256, kernel: int = 5, layers: int = 4, couplings: int = 4) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(
            Coupling(width, hidden=hidden, kernel=kernel, layers=layers) for _ in range(couplings)
        )

    def forward(self, latent_BFD: Tensor, *, inverse: bool = False) -> Tensor:
        """Shapes: (B, F, D) -> (B, F, D). log|det| is 0."""
        x_BDF = latent_BFD.transpose(1, 2)
        for coupling in reversed(self.couplings) if inverse else self.couplings:
            x_BDF = coupling(x_BDF.flip(1), inverse=True) if inverse else coupling(x_BDF).flip(1)
        return x_BDF.transpose(1, 2)
