"""What a generation carries, in buffers that never move or grow: what one CUDA graph may read and write again.

Same meaning as models.backbone.state, another form: rows are places for generations, each with a length of its own that
the device alone knows; positions, masks and where to write are computed from it. A history begins at column 0. What
lies behind its end is finite, and nobody looks at it. Nothing here waits for the device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone.dit import Modulation
from models.backbone.flow import Sampler
from models.fusing import fusable


class StaticHistory:
    """Keys and values of all layers of one network, `width` columns for each of `rows` generations."""

    def __init__(
        self, like: Tensor, *, layers: int, rows: int, width: int, heads: int, head_dim: int, copies: int, branches: int
    ) -> None:
        """`like`: a tensor of the type and on the device of the keys. `copies`, `branches`: see HeadState."""
        self.width, self.branches = width, branches
        self.store = like.new_zeros(layers, 2, copies, branches, rows, width, heads, head_dim)
        self.length_R = torch.zeros(rows, dtype=torch.long, device=like.device)
        self.at_N = self.length_R
        """Where the new columns of all branches and rows lie, counted through one copy."""
        self.layers = [StaticKeyValues(self, number) for number in range(layers)]

    def columns(self, new: int) -> Tensor:
        """Note where so many new tokens are written; their columns, (R, new)."""
        rows, device = len(self.length_R), self.length_R.device
        column_RL = self.length_R[:, None] + torch.arange(new, device=device)
        first_N1 = self.width * torch.arange(self.branches * rows, device=device)[:, None]
        self.at_N = (first_N1 + column_RL.repeat(self.branches, 1)).flatten()
        return column_RL

    def bias(self, allowed_RLC: Tensor) -> Tensor:
        """A mask as attention adds it: (R, L, C) to (branches * R, 1, L, C)."""
        zero_RLC = self.store.new_zeros(allowed_RLC.shape)
        return zero_RLC.masked_fill(~allowed_RLC, -math.inf).repeat(self.branches, 1, 1)[:, None]

    def causal(self, new: int) -> tuple[Tensor, Tensor]:
        """The mask of so many new tokens that look at themselves and all before them, and their `columns`."""
        column_RL = self.columns(new)
        return self.bias(self.every_column() <= column_RL[..., None]), column_RL

    def every_column(self) -> Tensor:
        """(C,)."""
        return torch.arange(self.width, device=self.length_R.device)

    def clear(self, row: int) -> None:
        """Make a place free of what was there, which may not be finite."""
        self.store[..., row, :, :, :] = 0.0
        self.length_R[row] = 0

    def copy_row(self, row: int, *, other: "StaticHistory", source: int) -> None:
        """Take the history of a row of other buffers; these are wide enough for what it holds."""
        self.clear(row)
        width = min(self.width, other.width)
        self.store[..., row, :width, :, :] = other.store[..., source, :width, :, :]
        self.length_R[row] = other.length_R[source]

    def take(self, row: int, *, keys_and_values: Sequence[tuple[Tensor | None, Tensor | None]], length: int) -> None:
        """Take the history of the only generation of ordinary layers, of keys and values each.

        Shapes: (copies * branches, A, C, E), of which `length` columns hold something.
        """
        self.clear(row)
        self.length_R[row] = length
        for number, pair in enumerate(keys_and_values):
            for which, past_BALE in enumerate(pair):
                if past_BALE is not None and length:
                    made = past_BALE[:, :, :length].transpose(1, 2)
                    self.store[number, which, :, :, row, :length] = made.view(-1, self.branches, *made.shape[1:])


class StaticKeyValues:
    """Those of one layer, in the place of models.backbone.history.KeyValues; the network advances the length."""

    def __init__(self, history: StaticHistory, number: int) -> None:
        self.history = history
        self.flat = [copy.flatten(1, 3) for copy in history.store[number].unbind(1)]
        """Keys and values of each copy: (2, branches * rows * width, A, E)."""

    def join(
        self, key_BALE: Tensor, value_BALE: Tensor, *, keep: int, copy: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Write new keys and values (of one copy), and give all columns, those that hold nothing too."""
        flat_2NAE = self.flat[copy or 0]
        store(flat_2NAE, self.history.at_N, key_BALE, value_BALE)
        key, value = flat_2NAE.view(2, -1, self.history.width, *flat_2NAE.shape[2:]).transpose(2, 3).unbind()
        return key, value


@fusable
def store(flat_2NAE: Tensor, at_N: Tensor, key_BALE: Tensor, value_BALE: Tensor) -> None:
    """Put new keys and values where they belong."""
    new_2NAE = torch.stack([new_BALE.transpose(1, 2).flatten(0, 1) for new_BALE in (key_BALE, value_BALE)])
    flat_2NAE.index_copy_(1, at_N, new_2NAE)


@dataclass
class StaticLanguage:
    """The LLM's history; whoever feeds it says how many of the tokens were real (`history.length_R`)."""

    history: StaticHistory

    def attended(self, new: int) -> tuple[Tensor, Tensor]:
        """Mask and positions of new tokens. Those that are not real come last, so nothing real looks at them."""
        return self.history.causal(new)

    def join(self, key_BALE: Tensor, value_BALE: Tensor, *, layer: int) -> tuple[Tensor, Tensor]:
        """As StaticKeyValues.join."""
        return self.history.layers[layer].join(key_BALE, value_BALE, keep=0)


@dataclass
class StaticSemantic:
    """The semantic encoder's last raw frame and history."""

    tail_B1D: Tensor
    history: StaticHistory
    active_R: Tensor
    """1 where a generation is, 0 where a place is free."""

    @property
    def past(self) -> list[StaticKeyValues]:
        """A layer at a time."""
        return self.history.layers

    def mask(self, new: int) -> Tensor:
        """Causal."""
        mask, _ = self.history.causal(new)
        return mask

    def heard(self, latent_BFD: Tensor, *, new: int) -> None:
        """Note that these frames have joined the past."""
        self.tail_B1D.copy_(latent_BFD[:, -1:])
        self.history.length_R += new * self.active_R


@dataclass
class StaticState:
    """LLM and semantic encoder."""

    llm: StaticLanguage
    semantic: StaticSemantic


@dataclass
class StaticHead:
    """The head's history. A unit waits in any case; where it is none (before the first patch), nobody looks at it."""

    sampler: Sampler
    modulation_PEBR1H: Tensor
    """Of all parts (six a block, then two), evaluations, branches and rows."""
    history: StaticHistory
    waiting_RUH: Tensor
    waits_R: Tensor
    """1 where a unit waits, a number a generation."""
    active_R: Tensor

    def __post_init__(self) -> None:
        self.each = [self.modulation(number) for number in range(self.sampler.evaluations)]
        """Modulation of each evaluation: views."""

    def modulation(self, number: int) -> Modulation:
        """Of one evaluation."""
        parts = [part[number].flatten(0, 1) for part in self.modulation_PEBR1H]
        blocks = [tuple(parts[first : first + 6]) for first in range(0, len(parts) - 2, 6)]
        return Modulation(blocks, tuple(parts[-2:]))

    @property
    def past(self) -> list[StaticKeyValues]:
        """A block at a time."""
        return self.history.layers

    def before(self, token_RLH: Tensor) -> Tensor:
        """As HeadState.before."""
        return torch.cat([self.waiting_RUH, token_RLH], dim=1)

    def positions(self, new: int, *, repeats: int) -> Tensor:
        """(repeats * B, L). Where no unit waits, there is no history either, and the unit in the making stands one unit
        further on than need be: what it says depends on distances alone."""
        offset_L = torch.arange(new, device=self.waits_R.device)
        return (self.history.length_R[:, None] + offset_L).repeat(repeats, 1)

    def mask(self, new: int, *, full: int) -> Tensor:
        """As HeadState.mask; the unit in the making looks at the waiting one only where one waits."""
        column_RL1, every_C = self.history.columns(new)[..., None], self.history.every_column()
        first_R11, last_R11 = column_RL1[:, :1], column_RL1[:, -1:]
        empty_RLC = (every_C >= first_R11) & (every_C < first_R11 + full) & (self.waits_R[:, None, None] == 0)
        making_L1 = torch.arange(new, device=every_C.device)[:, None] >= new - full
        return self.history.bias(torch.where(making_L1, (every_C <= last_R11) & ~empty_RLC, every_C <= column_RL1))

    def settled(self, unit: int) -> None:
        """As HeadState.settled."""
        self.history.length_R += unit * self.waits_R * self.active_R
        self.waits_R.zero_()

    def wait(self, token_RUH: Tensor) -> None:
        """Let a unit of every generation wait."""
        self.waiting_RUH.copy_(token_RUH)
        self.waits_R.copy_(self.active_R)
