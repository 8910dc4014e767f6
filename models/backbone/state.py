"""What a generation carries from patch to patch; several generations side by side, and fewer of them again.

Generations of unlike lengths in one batch are aligned at their ends: the shorter histories begin with columns that
nobody looks at (`seen`). Where all histories are equally long, `seen` is None and no mask is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.backbone.attention import chunk_mask
from models.backbone.dit import Modulation
from models.backbone.flow import Sampler
from models.backbone.history import KeyValues, seen_columns, side_by_side


@dataclass
class LanguageState:
    """Keys and values of every layer of the LLM; what transformers calls a cache."""

    layers: list[KeyValues]
    seen_BC: Tensor | None = None

    @property
    def length(self) -> int:
        """Columns, those that nobody looks at included."""
        return self.layers[0].length

    def attended(self, embedding_BLH: Tensor, real_BL: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Mask and positions of new tokens; what is real of them is noted."""
        (B, L, _), past, device = embedding_BLH.shape, self.length, embedding_BLH.device
        if self.seen_BC is None and real_BL is None:
            return chunk_mask(L, past=past, device=device), torch.arange(past, past + L, device=device)[None]
        seen_BC = torch.ones(B, past, dtype=torch.bool, device=device) if self.seen_BC is None else self.seen_BC
        new_BL = torch.ones(B, L, dtype=torch.bool, device=device) if real_BL is None else real_BL
        self.seen_BC = torch.cat([seen_BC, new_BL], dim=1)
        position_BL = (self.seen_BC.cumsum(dim=1)[:, past:] - 1).clamp(min=0)
        row, column = torch.arange(L, device=device)[:, None] + past, torch.arange(past + L, device=device)
        # a token that is not real sees itself, so that its softmax is defined
        return (self.seen_BC[:, None, None] & (column <= row)) | (column == row), position_BL

    def update(self, key_BALE: Tensor, value_BALE: Tensor, layer: int, *_: object) -> tuple[Tensor, Tensor]:
        """Called by transformers' attention: keep the new ones, and return all."""
        return self.layers[layer].join(key_BALE, value_BALE, keep=key_BALE.shape[2])


@dataclass
class SemanticState:
    """The last raw frame, which the next convolution sees, and keys and values a layer."""

    tail_B1D: Tensor
    past: list[KeyValues]
    seen_BC: Tensor | None = None

    def mask(self, new: int) -> Tensor | None:
        """Who of so many new tokens may look at what."""
        return chunk_mask(new, past=self.past[0].length, seen_BC=self.seen_BC, device=self.tail_B1D.device)

    def heard(self, latent_BFD: Tensor, *, new: int) -> None:
        """Note that these frames have joined the past, as so many tokens."""
        self.tail_B1D = latent_BFD[:, -1:]
        if self.seen_BC is not None:
            self.seen_BC = functional.pad(self.seen_BC, (0, new), value=True)


@dataclass
class State:
    """What a generation carries through LLM and semantic encoder."""

    llm: LanguageState
    semantic: SemanticState

    @property
    def rows(self) -> int:
        """Generations in it."""
        return self.semantic.tail_B1D.shape[0]

    def keep_rows(self, index_B: Tensor) -> None:
        """Forget all generations but these."""
        self.semantic.tail_B1D = self.semantic.tail_B1D[index_B]
        for part in (self.llm, self.semantic):
            if part.seen_BC is not None:
                part.seen_BC = part.seen_BC[index_B]
        for layer in (*self.llm.layers, *self.semantic.past):
            layer.keep_rows(index_B)


@dataclass
class HeadState:
    """The head's history for one sampler and a voice a row.

    Time and voice steer history tokens too, so each network evaluation of a patch keeps keys and values of its own:
    row (evaluation * branches + branch) * B + b. Branch 1, where there is guidance, is the unconditional one.
    """

    sampler: Sampler
    modulation: Modulation
    """Of all evaluations, rows as above."""
    past: list[KeyValues]
    """One a block."""
    rows: int
    """Generations in it (B)."""
    seen_BC: Tensor | None = None
    waiting_RUH: Tensor | None = None
    """Head input of the last unit, of all branches: it joins the past while the next patch is made, since the weights
    are read once for both then."""

    def __post_init__(self) -> None:
        step = self.sampler.branches * self.rows
        self.each = [self.modulation.rows(slice(n * step, n * step + step)) for n in range(self.sampler.evaluations)]
        """Modulation of each evaluation: views."""

    @property
    def length(self) -> int:
        """Columns, those that nobody looks at included."""
        return self.past[0].length

    @property
    def repeats(self) -> int:
        """How often the generations repeat in the rows."""
        return self.sampler.evaluations * self.sampler.branches

    def positions(self, new: int, *, repeats: int) -> Tensor:
        """Positions of the next tokens: (L,), or (repeats * B, L) where histories are of unlike lengths."""
        device = self.modulation.output[0].device
        if self.seen_BC is None:
            return torch.arange(self.length, self.length + new, device=device)
        start_B1 = self.seen_BC.sum(dim=1, keepdim=True)
        return (start_B1 + torch.arange(new, device=device)).repeat(repeats, 1)

    def before(self, token_RLH: Tensor) -> Tensor:
        """Head input of the next unit's first tokens, behind the unit that waits."""
        return token_RLH if self.waiting_RUH is None else torch.cat([self.waiting_RUH, token_RLH], dim=1)

    def mask(self, new: int, *, full: int) -> Tensor | None:
        """Who of so many new tokens, the last `full` of them a unit in the making, may look at what."""
        seen_RC = self.seen(repeats=self.sampler.branches)
        device = self.modulation.output[0].device
        return chunk_mask(new, past=self.length, full=full, seen_BC=seen_RC, device=device)

    def settled(self, unit: int) -> None:
        """Note that the unit that waited has joined: every evaluation has written its keys and values."""
        if self.waiting_RUH is not None:
            for layer in self.past:
                layer.length += unit
            self.waiting_RUH = None
            self.joined(unit)

    def joined(self, new: int) -> None:
        """Note that so many tokens have joined the past of every block."""
        if self.seen_BC is not None:
            self.seen_BC = functional.pad(self.seen_BC, (0, new), value=True)

    def seen(self, *, repeats: int) -> Tensor | None:
        """`seen_BC`, repeated as the rows are."""
        return None if self.seen_BC is None else self.seen_BC.repeat(repeats, 1)

    def keep_rows(self, index_B: Tensor) -> None:
        """Forget all generations but these."""
        start_R1 = torch.arange(self.repeats, device=index_B.device)[:, None] * self.rows
        index_R = (start_R1 + index_B).flatten()
        for layer in self.past:
            layer.keep_rows(index_R)
        if self.seen_BC is not None:
            self.seen_BC = self.seen_BC[index_B]
        if self.waiting_RUH is not None:
            _, unit, width = self.waiting_RUH.shape
            self.waiting_RUH = self.waiting_RUH.view(-1, self.rows, unit, width)[:, index_B].flatten(0, 1)
        self.modulation, self.rows = self.modulation.rows(index_R), len(index_B)
        self.__post_init__()


def join_states(states: Sequence[State]) -> State:
    """Generations side by side."""
    rows = [state.rows for state in states]

    def layers(of: Sequence[list[KeyValues]]) -> list[KeyValues]:
        return [side_by_side(parts, rows=rows) for parts in zip(*of, strict=True)]

    llm, semantic = [state.llm for state in states], [state.semantic for state in states]
    tail_B1D = torch.cat([part.tail_B1D for part in semantic])
    return State(
        LanguageState(
            layers([part.layers for part in llm]),
            seen_columns([p.seen_BC for p in llm], lengths=[p.length for p in llm], rows=rows, device=tail_B1D.device),
        ),
        SemanticState(
            tail_B1D,
            layers([part.past for part in semantic]),
            seen_columns(
                [part.seen_BC for part in semantic],
                lengths=[part.past[0].length for part in semantic],
                rows=rows,
                device=tail_B1D.device,
            ),
        ),
    )


def join_heads(heads: Sequence[HeadState]) -> HeadState:
    """Generations side by side; they share a sampler, and no unit waits (models.backbone.backbone.Backbone.settle)."""
    assert all(head.waiting_RUH is None for head in heads)
    rows, repeats = [head.rows for head in heads], heads[0].repeats

    def joined(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.reshape(repeats, -1, *part.shape[1:]) for part in parts], dim=1).flatten(0, 1)

    blocks = zip(*(head.modulation.blocks for head in heads), strict=True)
    return HeadState(
        heads[0].sampler,
        Modulation(
            [tuple(joined(parts) for parts in zip(*block, strict=True)) for block in blocks],
            tuple(joined(parts) for parts in zip(*(head.modulation.output for head in heads), strict=True)),
        ),
        [side_by_side(parts, rows=rows, repeats=repeats) for parts in zip(*(head.past for head in heads), strict=True)],
        sum(rows),
        seen_columns(
            [head.seen_BC for head in heads],
            lengths=[head.length for head in heads],
            rows=rows,
            device=heads[0].modulation.output[0].device,
        ),
    )
