"""Places for some generations with one sampler: static buffers, and the steps that a patch is made of.

A step is one CUDA graph on a GPU (models.runtime.graphs): `sample` makes a patch, `hear` lets the networks hear it and
read text behind it, `read` reads text alone. Only what a size decides is fixed: rows, patches, positions of the LLM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from models.backbone.flow import Sampler
from models.backbone.static import StaticHead, StaticHistory, StaticLanguage, StaticSemantic, StaticState
from models.runtime.graphs import Recorder, Step
from models.runtime.speaking import Parts, Speaking

READS = (1, 8, 64)
"""Text tokens of a step: fewer are padded, more take several steps."""
HEARS = (0, *READS)
SMALLEST_PATCHES, SMALLEST_POSITIONS = 64, 256


@dataclass(frozen=True)
class Size:
    """How much fits in; larger ones are twice as large."""

    rows: int
    patches: int
    positions: int

    @classmethod
    def holding(cls, *, rows: int, patches: int, positions: int) -> "Size":
        """The smallest that holds so many."""
        return cls(
            doubled(1, rows), doubled(SMALLEST_PATCHES, patches), doubled(SMALLEST_POSITIONS, positions + max(READS))
        )

    def holds(self, other: "Size") -> bool:
        """Whether the other one fits in."""
        return self.rows >= other.rows and self.patches >= other.patches and self.positions >= other.positions


def doubled(start: int, least: int) -> int:
    """The first of start, 2 start, 4 start ... that is not below `least`."""
    while start < least:
        start *= 2
    return start


def padded(width: int) -> int:
    """Columns in whole blocks of 64: attention wants masks whose rows are aligned."""
    return -(-width // 64) * 64


class Slots:
    """The buffers and their steps. Rows that are not `active` compute, and nobody reads what."""

    def __init__(
        self,
        parts: Parts,
        sampler: Sampler,
        size: Size,
        *,
        device: torch.device | None = None,
        pool: object = None,
        backend: str | None = None,
    ) -> None:
        """`device`: `meta` to see how large they are; None for that of the backbone. `backend`: see Recorder."""
        self.backbone, self.sampler, self.size = parts.backbone, sampler, size
        config, rows = self.backbone.config, size.rows
        like = torch.empty(0, dtype=self.backbone.dtype, device=device or self.backbone.device)
        self.mean_D, self.std_D = (torch.empty_like(value, device=like.device) for value in (parts.mean_D, parts.std_D))
        plain = partial(torch.zeros, device=like.device)
        self.active_R = plain(rows, dtype=torch.long)
        self.hidden_RH = like.new_zeros(rows, config.hidden_size)
        patch = (rows, config.patch_size, config.latent_dim)
        self.noise_RKD, self.renoise_RKD, self.made_RKD, self.raw_RKD = (plain(patch) for _ in range(4))
        self.verdict_2R = plain(2, rows)
        """Probability that the patch that `sample` makes is the last; whether it is finite."""
        self.ids_RT = plain(rows, max(READS), dtype=torch.long)
        self.count_R = plain(rows, dtype=torch.long)
        self.state, self.head = self.new_state(like), self.new_head(like)
        self.recorder = Recorder(like.device, pool, backend)
        self.weights: object = None
        """Which state of the weights the steps were recorded with."""

    def new_state(self, like: Tensor) -> StaticState:
        """Empty histories of LLM and semantic encoder."""
        config, llm, size = self.backbone.config, self.backbone.llm.config, self.size
        head_dim = getattr(llm, "head_dim", None) or llm.hidden_size // llm.num_attention_heads
        shape: dict[str, Any] = {"rows": size.rows, "copies": 1, "branches": 1}
        language = StaticHistory(
            like,
            layers=llm.num_hidden_layers,
            width=padded(size.positions),
            heads=llm.num_key_value_heads,
            head_dim=head_dim,
            **shape,
        )
        encoder = config.semantic_encoder
        semantic = StaticHistory(
            like,
            layers=encoder.num_layers,
            width=padded(size.patches * config.patch_size // 2),
            heads=encoder.num_heads,
            head_dim=encoder.hidden_size // encoder.num_heads,
            **shape,
        )
        tail_R1D = like.new_zeros(size.rows, 1, config.latent_dim)
        return StaticState(StaticLanguage(language), StaticSemantic(tail_R1D, semantic, self.active_R))

    def new_head(self, like: Tensor) -> StaticHead:
        """An empty history of the head."""
        config, sampler, rows = self.backbone.config, self.sampler, self.size.rows
        dit, copies, branches = config.dit, sampler.evaluations, sampler.branches
        history = StaticHistory(
            like,
            layers=dit.num_layers,
            rows=rows,
            width=padded((self.size.patches + 1) * config.unit),
            heads=dit.num_heads,
            head_dim=dit.head_dim,
            copies=copies,
            branches=branches,
        )
        return StaticHead(
            sampler,
            like.new_zeros(6 * dit.num_layers + 2, copies, branches, rows, 1, dit.hidden_size),
            history,
            like.new_zeros(branches * rows, config.unit, dit.hidden_size),
            torch.zeros_like(self.active_R),
            self.active_R,
        )

    @property
    def histories(self) -> list[StaticHistory]:
        """Of LLM, semantic encoder and head."""
        return [self.state.llm.history, self.state.semantic.history, self.head.history]

    @property
    def small(self) -> list[Tensor]:
        """What steps change beside columns that hold nothing yet."""
        own = [self.hidden_RH, self.made_RKD, self.raw_RKD, self.verdict_2R]
        head = [self.head.waiting_RUH, self.head.waits_R, self.state.semantic.tail_B1D]
        return [*own, *head, *(history.length_R for history in self.histories)]

    @property
    def bytes(self) -> int:
        """Memory of the buffers."""
        every = [*self.small, self.head.modulation_PEBR1H, *(history.store for history in self.histories)]
        return sum(tensor.numel() * tensor.element_size() for tensor in every)

    # ---- filled from outside ----

    @torch.no_grad()
    def open(self, rows: Sequence[int], speaker_NH: Tensor) -> None:
        """Empty places, steered by time and a voice each."""
        made = self.backbone.start_head(self.sampler, speaker_NH).modulation
        parts = [part for block in [*made.blocks, made.output] for part in block]
        _, E, B, _, _, H = self.head.modulation_PEBR1H.shape
        stacked_PEBN1H = torch.stack(parts).view(len(parts), E, B, len(rows), 1, H)
        for number, row in enumerate(rows):
            self.head.modulation_PEBR1H[:, :, :, row] = stacked_PEBN1H[:, :, :, number]
            for history in self.histories:
                history.clear(row)
            self.head.waits_R[row] = 0
            self.state.semantic.tail_B1D[row] = 0.0
            self.active_R[row] = 1

    @torch.no_grad()
    def take(self, row: int, speaking: Speaking) -> None:
        """Go on in an opened place with a generation that was begun in the ordinary way."""
        state, head = speaking.state, speaking.head
        parts = [
            (state.llm.layers, state.llm.length),
            (state.semantic.past, state.semantic.past[0].length),
            (head.past, head.length),
        ]
        for history, (layers, length) in zip(self.histories, parts, strict=True):
            history.take(row, keys_and_values=[(one.key_BALE, one.value_BALE) for one in layers], length=length)
        self.state.semantic.tail_B1D[row] = state.semantic.tail_B1D[0]
        self.hidden_RH[row] = speaking.hidden_BH[0]
        if head.waiting_RUH is not None:
            self.of_branches(self.head.waiting_RUH)[:, row] = head.waiting_RUH
            self.head.waits_R[row] = 1
        self.judge()

    @torch.no_grad()
    def copy_row(self, row: int, *, other: "Slots", source: int) -> None:
        """Take a generation of other slots with the same sampler."""
        for history, its in zip(self.histories, other.histories, strict=True):
            history.copy_row(row, other=its, source=source)
        self.head.modulation_PEBR1H[:, :, :, row] = other.head.modulation_PEBR1H[:, :, :, source]
        self.of_branches(self.head.waiting_RUH)[:, row] = other.of_branches(other.head.waiting_RUH)[:, source]
        own, its_own = self.of_rows(), other.of_rows()
        for mine, given in zip(own, its_own, strict=True):
            mine[row] = given[source]
        self.verdict_2R[:, row] = other.verdict_2R[:, source]

    def of_branches(self, value_RUH: Tensor) -> Tensor:
        """Rows of branches apart: (branches, rows, ...), a view."""
        return value_RUH.view(self.sampler.branches, self.size.rows, *value_RUH.shape[1:])

    def of_rows(self) -> list[Tensor]:
        """Tensors with a row a generation."""
        return [
            self.active_R,
            self.hidden_RH,
            self.made_RKD,
            self.raw_RKD,
            self.head.waits_R,
            self.state.semantic.tail_B1D,
        ]

    # ---- the steps ----

    def run(self, name: str, width: int = 0) -> None:
        """Run `sample`, or `hear` or `read` of at most so many text tokens."""
        steps: dict[str, Step] = {
            "sample": self.sample,
            "hear": partial(self.hear, width),
            "read": partial(self.read, width),
        }
        self.recorder.run((name, width), steps[name], kept=self.small)

    @torch.no_grad()
    def sample(self) -> None:
        """The next patch of every row out of its noise."""
        backbone, renoise = self.backbone, self.renoise_RKD if self.sampler.renoises else None
        self.made_RKD.copy_(backbone.sample_patch(self.head, self.hidden_RH, self.noise_RKD, renoise))
        self.denormalize()

    @torch.no_grad()
    def denormalize(self) -> None:
        """The patches as the semantic encoder and the AudioVAE take them, and whether they are finite."""
        self.raw_RKD.copy_(self.made_RKD * self.std_D + self.mean_D)
        self.verdict_2R[1].copy_(torch.isfinite(self.raw_RKD).flatten(1).all(1))

    @torch.no_grad()
    def hear(self, width: int) -> None:
        """Let every network hear the patches, then read at most `width` text tokens behind them."""
        backbone = self.backbone
        self.head.wait(backbone.unit_tokens(self.head, self.hidden_RH[:, None], self.made_RKD))
        embedding_RLH = backbone.embed_patches(self.state, self.raw_RKD)
        if not width:
            self.think(embedding_RLH, self.active_R)
            return
        embedding_RLH = torch.cat([embedding_RLH, backbone.embed_text(self.ids_RT[:, :width])], dim=1)
        self.think(embedding_RLH, self.active_R * (1 + self.count_R))

    @torch.no_grad()
    def read(self, width: int) -> None:
        """Read at most `width` text tokens, none in rows that have none."""
        self.think(self.backbone.embed_text(self.ids_RT[:, :width]), self.active_R * self.count_R)

    def think(self, embedding_RLH: Tensor, real_R: Tensor) -> None:
        """Feed the LLM, of each row so many that are real; what it makes of the last of them."""
        hidden_RLH = self.backbone.prefill(self.state, embedding_RLH)
        last_R11 = (real_R - 1).clamp(min=0)[:, None, None]
        last_RH = hidden_RLH.gather(1, last_R11.expand(-1, 1, hidden_RLH.shape[2]))[:, 0]
        self.hidden_RH.copy_(torch.where(real_R[:, None] > 0, last_RH, self.hidden_RH))
        self.state.llm.history.length_R += real_R
        self.judge()

    def judge(self) -> None:
        """Ask the stop head about the next patch of every row."""
        self.verdict_2R[0].copy_(self.backbone.stop_probability(self.hidden_RH))
