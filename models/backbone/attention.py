"""Attention and feed-forward blocks of the semantic encoder and of the head."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbone.history import KeyValues, Past
from models.backbone.layout import Piece
from models.backbone.linear import Activation, Linear, project
from models.fusing import fusable

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

Rotary = tuple[Tensor, Tensor]
"""Cosine and sine of the rotation of each position, `(..., L, head_dim)`."""


Mask: TypeAlias = "Tensor | list[Piece] | BlockMask | None"
"""Who looks at whom: of all pairs, of pieces (models.backbone.layout), of blocks, or all at all."""


def rotary(position_L: Tensor, *, head_dim: int, theta: float) -> Rotary:
    """Angles of the rotate-half embedding, at least float32: `(..., L)` positions to two `(..., L, head_dim)`."""
    dtype = torch.promote_types(position_L.dtype, torch.float32)
    step = torch.arange(0, head_dim, 2, dtype=dtype, device=position_L.device) / head_dim
    angle = position_L.to(dtype)[..., None] * theta**-step
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(x_BALE: Tensor, rotary: Rotary) -> Tensor:
    """Turn queries or keys by the angles of their positions."""
    cos, sin = (part.to(x_BALE.dtype).unsqueeze(-3) for part in rotary)
    low, high = x_BALE.chunk(2, dim=-1)
    return torch.addcmul(x_BALE * cos, torch.cat([-high, low], dim=-1), sin)


class RMSNorm(nn.RMSNorm):
    """That of torch (epsilon: that of float32), as one kernel on a GPU under autocast too: torch computes it in eight
    operations where input and scale are of two types. Elsewhere it is as it was, bit for bit."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width), in the type of the input."""
        if not x.is_cuda or x.dtype == self.weight.dtype:
            return super().forward(x)
        eps = torch.finfo(torch.float32).eps
        return functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), eps)


@fusable
def normed_pair(
    query: Tensor, key: Tensor, of_query_E: Tensor, of_key_E: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor]:
    """Queries and keys through an RMS norm each, and turned."""
    query = functional.rms_norm(query, query.shape[-1:], of_query_E)
    key = functional.rms_norm(key, key.shape[-1:], of_key_E)
    return turned_pair(query, key, cos, sin)


@fusable
def turned_pair(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys, turned."""
    return rotate(query, (cos, sin)), rotate(key, (cos, sin))


def norm_layer(name: str, width: int) -> nn.Module:
    """`LayerNorm` or `RMSNorm`, with a learned scale."""
    return RMSNorm(width) if name == "RMSNorm" else nn.LayerNorm(width)


class Attention(nn.Module):
    """Multi-head attention; the output projection always has a bias."""

    def __init__(
        self, width: int, *, heads: int, qkv_bias: bool = False, qk_norm: str | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = Linear(width, width, bias=qkv_bias)
        self.k_proj = Linear(width, width, bias=qkv_bias)
        self.v_proj = Linear(width, width, bias=qkv_bias)
        self.o_proj = Linear(width, width)
        self.q_norm = norm_layer(qk_norm, width // heads) if qk_norm else nn.Identity()
        self.k_norm = norm_layer(qk_norm, width // heads) if qk_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def split(self, projected_BLH: Tensor) -> tuple[Tensor, ...]:
        """Projections side by side, (B, L, n * H), to n times (B, A, L, E)."""
        (B, L, _), head_dim = projected_BLH.shape, self.q_proj.out_features // self.heads
        return projected_BLH.view(B, L, -1, self.heads, head_dim).transpose(1, 3).unbind(2)

    def forward(
        self,
        x_BLH: Tensor,
        *,
        mask: Mask = None,
        causal: bool = False,
        rotary: Rotary | None = None,
        past: Past | None = None,
        keep: int = 0,
        copy: int | None = None,
        last: int | None = None,
    ) -> Tensor:
        """Attend to `past` (or one copy of it) and `x_BLH`, of which the first `keep` tokens join the past.

        `last`: only so many tokens at the end ask; the others are only looked at. Pieces begin there or end before.
        Shapes: a mask, true where a row may look at a column, broadcasts to (B, A, L, past + L).
        """
        query, key, value = self.split(project(x_BLH, [self.q_proj, self.k_proj, self.v_proj]))
        query, key = self.normed_and_turned(query, key, rotary)
        if last is not None:
            query = query[:, :, -last:]
            if isinstance(mask, Tensor):
                mask = mask[..., -last:, :]
            elif isinstance(mask, list):
                mask = [piece for piece in mask if piece.rows.start >= key.shape[2] - last]
        if past is not None:
            key, value = past.join(key, value, keep=keep, copy=copy)
        if isinstance(mask, list):
            mixed = piecewise(query, key, value, mask)
        elif mask is None or isinstance(mask, Tensor):
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        else:
            mixed = blockwise(query, key, value, mask)
        return cast(Tensor, self.dropout(self.o_proj(mixed.transpose(1, 2).flatten(2))))

    def normed_and_turned(self, query: Tensor, key: Tensor, rotary: Rotary | None) -> tuple[Tensor, Tensor]:
        """Queries and keys as they are compared."""
        of_query, of_key = self.q_norm, self.k_norm
        both = isinstance(of_query, RMSNorm) and isinstance(of_key, RMSNorm)
        if both and rotary is not None and query.dtype == of_query.weight.dtype:
            weights = cast(Tensor, of_query.weight), cast(Tensor, of_key.weight)
            return normed_pair(query, key, *weights, *rotary)
        query, key = of_query(query), of_key(key)
        return (query, key) if rotary is None else (rotate(query, rotary), rotate(key, rotary))

    def keys_and_values(self, x_BLH: Tensor, rotary: Rotary | None) -> tuple[Tensor, Tensor]:
        """What others see of these tokens, (B, A, L, E) each."""
        key, value = self.split(project(x_BLH, [self.k_proj, self.v_proj]))
        key = self.k_norm(key)
        return key if rotary is None else rotate(key, rotary), value

    def remember(self, x_BLH: Tensor, *, rotary: Rotary | None, past: KeyValues) -> None:
        """Put all tokens into the past."""
        past.join(*self.keys_and_values(x_BLH, rotary), keep=x_BLH.shape[1])


def piecewise(query: Tensor, key: Tensor, value: Tensor, pieces: list[Piece]) -> Tensor:
    """Attention of some rows after the other, each to no more columns than its piece names."""
    mixed = []
    queries = torch.split(query, [rows.stop - rows.start for rows, _, _ in pieces], 2)
    for own_query, (_, columns, mask) in zip(queries, pieces, strict=True):
        own_key, own_value = (joined([of[:, :, part] for part in columns]) for of in (key, value))
        mixed.append(
            functional.scaled_dot_product_attention(
                own_query, own_key, own_value, attn_mask=mask, is_causal=mask is None
            )
        )
    return joined(mixed)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Parts along the sequence, (B, A, L, E) each, as one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=2)


def blockwise(query: Tensor, key: Tensor, value: Tensor, mask: "BlockMask") -> Tensor:
    """FlexAttention: blocks of the mask where nobody looks cost nothing. Compiled on a GPU, plain elsewhere."""
    from torch.nn.attention.flex_attention import flex_attention

    alone = query.is_cuda and not torch.compiler.is_compiling()  # inside a compiled block it is compiled with it
    attend: Any = compiled_flex_attention() if alone else flex_attention
    query, key = query.to(value.dtype), key.to(value.dtype)  # autocast does not know it
    return cast(Tensor, attend(query, key, value, block_mask=mask))


@cache
def compiled_flex_attention() -> Any:
    """One compiled function for all layers."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


class FeedForward(nn.Module):
    """Two linear layers with `activation` between them."""

    def __init__(self, width: int, inner: int, activation: Activation, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = Linear(width, inner)
        self.fc2 = Linear(inner, width)
        self.activation: Activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLH: Tensor) -> Tensor:
        """(B, L, H) -> (B, L, H)."""
        return cast(Tensor, self.dropout(self.fc2(project(x_BLH, [self.fc1], activation=self.activation))))


def chunk_mask(
    length: int,
    *,
    past: int,
    full: int = 0,
    seen_BC: Tensor | None = None,
    device: torch.device | None = None,
) -> Tensor | None:
    """Mask of `length` new tokens behind `past` old ones; None where every row may see everything.

    Causal, but for the last `full` rows, which see all. `seen_BC`: which of the past columns hold something, where
    rows have histories of unlike lengths.
    Shapes: (length, past + length) or (B, 1, length, past + length), true where a row may look.
    """
    allowed_LC = None
    if length > max(full, 1):
        row, column = torch.arange(length, device=device), torch.arange(past + length, device=device)
        allowed_LC = (column[None] <= row[:, None] + past) | (row[:, None] >= length - full)
    if seen_BC is None:
        return allowed_LC
    seen_B11C = functional.pad(seen_BC, (0, length), value=True)[:, None, None]
    return seen_B11C if allowed_LC is None else seen_B11C & allowed_LC
