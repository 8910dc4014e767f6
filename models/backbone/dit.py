"""The flow-matching head (`velocity_field_predictor`): a Transformer whose norms flow time and speaker steer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbone.attention import Attention, FeedForward, Mask, Rotary, rotary
from models.backbone.config import DiTConfig
from models.backbone.history import KeyValues, Past
from models.backbone.linear import Linear, project_seldom
from models.fusing import fusable

SINUSOIDS = 256


@dataclass(frozen=True)
class Modulation:
    """Shifts, scales and gates of every block (six each) and of the output (two), for one flow time and speaker."""

    blocks: list[tuple[Tensor, ...]]
    output: tuple[Tensor, ...]

    def rows(self, rows: slice | Tensor) -> "Modulation":
        """That of some rows."""
        return Modulation(
            [tuple(part[rows] for part in block) for block in self.blocks], tuple(part[rows] for part in self.output)
        )

    def of_tokens(self, row_L: Tensor) -> "Modulation":
        """One row whose token l is steered as row `row_L[l]` of this one."""
        return Modulation(
            [tuple(part[row_L].transpose(0, 1) for part in block) for block in self.blocks],
            tuple(part[row_L].transpose(0, 1) for part in self.output),
        )


def at_end(steer: Sequence[Tensor], last: int) -> tuple[Tensor, ...]:
    """What steers so many tokens at the end, where each is steered by itself: (B, L or 1, H) each."""
    return tuple(part if part.shape[1] == 1 else part[:, -last:] for part in steer)


class TimeEmbedder(nn.Module):
    """Flow time in [0, 1], not rescaled, through cosines and sines to the width of the head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(SINUSOIDS, width), nn.SiLU(), nn.Linear(width, width))

    @property
    def linears(self) -> list[nn.Linear]:
        """Its two linear layers."""
        return [module for module in self.mlp if isinstance(module, nn.Linear)]

    def sinusoids(self, time_B: Tensor) -> Tensor:
        """(B,) -> (B, 256): 128 cosines, then 128 sines, at least in float32."""
        half = SINUSOIDS // 2
        dtype = torch.promote_types(time_B.dtype, torch.float32)
        angle = time_B.to(dtype)[:, None] * 10000.0 ** (-torch.arange(half, device=time_B.device, dtype=dtype) / half)
        return torch.cat([angle.cos(), angle.sin()], dim=-1)

    def forward(self, time_B: Tensor) -> Tensor:
        """(B,) -> (B, H)."""
        return cast(Tensor, self.mlp(self.sinusoids(time_B).to(self.linears[0].weight.dtype)))


class Modulator(nn.Sequential):
    """Shifts, scales and gates out of the condition, `parts` of them; once a generation, so nothing is packed."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__(nn.SiLU(), nn.Linear(width, parts * width))
        self.parts = parts

    def forward(self, condition_BH: Tensor) -> tuple[Tensor, ...]:
        """(B, H) -> `parts` times (B, 1, H)."""
        steer_BH = project_seldom(self[0](condition_BH), cast(nn.Linear, self[1]))
        return steer_BH[:, None].chunk(self.parts, dim=-1)


class Block(nn.Module):
    """adaLN-zero block: attention, then feed-forward, each shifted, scaled and gated by the condition."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.attn = Attention(
            width,
            heads=config.num_heads,
            qkv_bias=config.qkv_bias,
            qk_norm=config.norm_layer if config.qk_norm else None,
            dropout=config.dropout,
        )
        self.ffn = FeedForward(width, config.ffn_hidden_size, "gelu_tanh", dropout=config.dropout)
        self.adaLN_modulation = Modulator(width, 6)

    def forward(
        self,
        x_BLH: Tensor,
        steer: tuple[Tensor, ...],
        *,
        mask: Mask,
        rotary: Rotary | None,
        past: Past | None,
        keep: int,
        copy: int | None,
        last: int | None = None,
    ) -> Tensor:
        """(B, L, H) -> (B, L, H), or (B, last, H) where only so many tokens at the end are wanted."""
        shift_attn, scale_attn, *others = steer
        gate_attn, shift_ffn, scale_ffn, gate_ffn = others if last is None else at_end(others, last)
        attended = self.attn(
            modulated(x_BLH, shift_attn, scale_attn),
            mask=mask,
            rotary=rotary,
            past=past,
            keep=keep,
            copy=copy,
            last=last,
        )
        before_BLH = x_BLH if last is None else x_BLH[:, -last:]
        x_BLH, steered_BLH = gated_and_modulated(before_BLH, gate_attn, attended, shift_ffn, scale_ffn)
        return torch.addcmul(x_BLH, gate_ffn, self.ffn(steered_BLH))

    def remember(self, x_BLH: Tensor, steer: tuple[Tensor, ...], *, rotary: Rotary | None, past: KeyValues) -> None:
        """Put keys and values of all tokens into the past, and no more: of the last block, nothing else is read."""
        self.attn.remember(modulated(x_BLH, steer[0], steer[1]), rotary=rotary, past=past)


class OutputLayer(nn.Module):
    """Modulated norm, then a linear layer to the latent width."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = Linear(width, latent_dim)
        self.adaLN_modulation = Modulator(width, 2)

    def forward(self, x_BLH: Tensor, steer: tuple[Tensor, ...]) -> Tensor:
        """(B, L, H) -> (B, L, D)."""
        return cast(Tensor, self.linear(modulated(x_BLH, *steer)))


class DiT(nn.Module):
    """Velocity of every token. Time, speaker and interval steer all tokens, the history's too."""

    def __init__(self, config: DiTConfig, *, latent_dim: int, duration_embedding: bool = False) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.input_layer = Linear(width, width)
        self.time_embedder = TimeEmbedder(width)
        self.duration_embedder = TimeEmbedder(width) if duration_embedding else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.output_layer = OutputLayer(width, latent_dim)
        self.initialize()

    def initialize(self) -> None:
        """Xavier linears, small time embedders, zero modulations and output: the velocity starts at zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for embedder in (self.time_embedder, self.duration_embedder):
            for linear in embedder.linears if embedder is not None else []:
                nn.init.normal_(linear.weight, std=0.02)
        for module in self.modules():
            if isinstance(module, Modulator):
                nn.init.zeros_(module[1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.output_layer.linear.weight)

    def modulation(
        self, time_B: Tensor, *, speaker_BH: Tensor | None = None, duration_B: Tensor | None = None
    ) -> Modulation:
        """What steers the blocks at flow time `time_B`, for intervals `duration_B` where the head knows of them.

        Raises: ValueError when a duration is given to a head without a duration embedder.
        """
        condition_BH = self.time_embedder(time_B)
        if duration_B is not None:
            if self.duration_embedder is None:
                raise ValueError("this head has no duration embedder: it was not distilled by MeanFlow")
            condition_BH = condition_BH + self.duration_embedder(duration_B)
        if speaker_BH is not None:
            condition_BH = condition_BH + speaker_BH
        blocks = [cast(Block, block).adaLN_modulation(condition_BH) for block in self.blocks]
        return Modulation(blocks, self.output_layer.adaLN_modulation(condition_BH))

    def rotary(self, position_L: Tensor) -> Rotary | None:
        """Angles of positions (L,) or (B, L), computed in float32 at least; None for a head without them."""
        if not self.config.rotary_bias:
            return None
        dtype = self.input_layer.weight.dtype
        position_L = position_L.to(torch.promote_types(dtype, torch.float32))
        cos, sin = rotary(position_L, head_dim=self.config.head_dim, theta=self.config.rotary_theta)
        return cos.to(dtype), sin.to(dtype)

    def forward(
        self,
        token_BLH: Tensor,
        *,
        rotary: Rotary | None,
        modulation: Modulation,
        mask: Mask = None,
        past: Sequence[Past] | None = None,
        copy: int | None = None,
        last: int | None = None,
    ) -> Tensor:
        """Velocities; with `past` (one a block), behind what that copy of it holds, and nothing joins it.

        `last`: of so many tokens at the end only; keys and values are made of all.
        Shapes: (B, L, H) -> (B, L, D); `rotary` from `rotary`; mask broadcasts to (B, A, L, past + L).
        """
        x_BLH = self.input_layer(token_BLH)
        for number, block in enumerate(self.blocks):
            x_BLH = block(
                x_BLH,
                modulation.blocks[number],
                mask=mask,
                rotary=rotary,
                past=None if past is None else past[number],
                keep=0,
                copy=copy,
                last=last if number == len(self.blocks) - 1 else None,
            )
        output = modulation.output if last is None else at_end(modulation.output, last)
        return cast(Tensor, self.output_layer(x_BLH, output))

    def remember(
        self,
        token_BLH: Tensor,
        *,
        rotary: Rotary | None,
        modulation: Modulation,
        mask: Tensor | None,
        past: list[KeyValues],
    ) -> None:
        """Put tokens behind the past of every block, in all its copies at once: rows are those of all copies."""
        x_BLH, keep = self.input_layer(token_BLH), token_BLH.shape[1]
        *blocks, last = cast(list[Block], list(self.blocks))
        for number, block in enumerate(blocks):
            steer = modulation.blocks[number]
            x_BLH = block(x_BLH, steer, mask=mask, rotary=rotary, past=past[number], keep=keep, copy=None)
        last.remember(x_BLH, modulation.blocks[-1], rotary=rotary, past=past[-1])


@fusable
def gated_and_modulated(
    x_BLH: Tensor, gate_B1H: Tensor, made_BLH: Tensor, shift_B1H: Tensor, scale_B1H: Tensor
) -> tuple[Tensor, Tensor]:
    """What a branch made, added through its gate; and that as the next branch takes it."""
    x_BLH = torch.addcmul(x_BLH, gate_B1H, made_BLH)
    return x_BLH, modulated(x_BLH, shift_B1H, scale_B1H)


@fusable
def modulated(x_BLH: Tensor, shift_B1H: Tensor, scale_B1H: Tensor) -> Tensor:
    """LayerNorm without weights of its own, scaled and shifted by the condition."""
    normed_BLH = functional.layer_norm(x_BLH, x_BLH.shape[-1:], eps=1e-5)
    return torch.addcmul(normed_BLH + shift_B1H, normed_BLH, scale_B1H)
