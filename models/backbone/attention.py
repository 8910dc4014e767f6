"""Attention and feed-forward blocks of the semantic encoder and of the head; keys and values kept for streaming."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

Rotary = tuple[Tensor, Tensor]
"""Cosine and sine of the rotation of each position, `(..., L, head_dim)`."""


class KeyValues:
    """Keys and values of what one attention layer has seen; the buffers grow by doubling."""

    def __init__(self) -> None:
        self.length = 0
        self.key_BALE: Tensor | None = None
        self.value_BALE: Tensor | None = None

    def join(self, key_BALE: Tensor, value_BALE: Tensor, *, keep: int) -> tuple[Tensor, Tensor]:
        """Past and new keys and values together; the first `keep` new ones become part of the past."""
        new = key_BALE.shape[2]
        self.key_BALE = self.room(self.key_BALE, like_BALE=key_BALE)
        self.value_BALE = self.room(self.value_BALE, like_BALE=value_BALE)
        end = self.length + new
        self.key_BALE[:, :, self.length : end] = key_BALE
        self.value_BALE[:, :, self.length : end] = value_BALE
        self.length += keep
        return self.key_BALE[:, :, :end], self.value_BALE[:, :, :end]

    def room(self, buffer_BALE: Tensor | None, *, like_BALE: Tensor) -> Tensor:
        """A buffer with room for `like_BALE` behind the past."""
        B, A, new, E = like_BALE.shape
        if buffer_BALE is not None and self.length + new <= buffer_BALE.shape[2]:
            return buffer_BALE
        larger_BALE = like_BALE.new_empty(B, A, max(64, 2 * (self.length + new)), E)
        if buffer_BALE is not None:
            larger_BALE[:, :, : self.length] = buffer_BALE[:, :, : self.length]
        return larger_BALE


def rotary(position_L: Tensor, *, head_dim: int, theta: float) -> Rotary:
    """Angles of the rotate-half embedding, at least float32: `(..., L)` positions to two `(..., L, head_dim)`."""
    dtype = torch.promote_types(position_L.dtype, torch.float32)
    step = torch.arange(0, head_dim, 2, dtype=dtype, device=position_L.device) / head_dim
    angle = position_L.to(dtype)[..., None] * theta**-step
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(x_BALE: Tensor, turn: Rotary) -> Tensor:
    """Turn queries or keys by the angles of their positions."""
    cos, sin = (part.to(x_BALE.dtype).unsqueeze(-3) for part in turn)
    low, high = x_BALE.chunk(2, dim=-1)
    return x_BALE * cos + torch.cat([-high, low], dim=-1) * sin


def norm_layer(name: str, width: int) -> nn.Module:
    """`LayerNorm` or `RMSNorm` (epsilon: that of float32), with a learned scale."""
    return nn.RMSNorm(width) if name == "RMSNorm" else nn.LayerNorm(width)


class Attention(nn.Module):
    """Multi-head attention; the output projection always has a bias."""

    def __init__(
        self, width: int, *, heads: int, qkv_bias: bool = False, qk_norm: str | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width, bias=qkv_bias)
        self.k_proj = nn.Linear(width, width, bias=qkv_bias)
        self.v_proj = nn.Linear(width, width, bias=qkv_bias)
        self.o_proj = nn.Linear(width, width)
        self.q_norm = norm_layer(qk_norm, width // heads) if qk_norm else nn.Identity()
        self.k_norm = norm_layer(qk_norm, width // heads) if qk_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def split(self, x_BLH: Tensor) -> Tensor:
        """(B, L, H) -> (B, A, L, E)."""
        B, L, H = x_BLH.shape
        return x_BLH.reshape(B, L, self.heads, H // self.heads).transpose(1, 2)

    def forward(
        self,
        x_BLH: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        turn: Rotary | None = None,
        past: KeyValues | None = None,
        keep: int = 0,
    ) -> Tensor:
        """Attend to `past` and `x_BLH`, of which the first `keep` tokens join the past.

        Shapes: mask, true where a row may look at a column: broadcasts to (B, A, L, past + L).
        """
        query = self.q_norm(self.split(self.q_proj(x_BLH)))
        key = self.k_norm(self.split(self.k_proj(x_BLH)))
        value = self.split(self.v_proj(x_BLH))
        if turn is not None:
            query, key = rotate(query, turn), rotate(key, turn)
        if past is not None:
            key, value = past.join(key, value, keep=keep)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        return cast(Tensor, self.dropout(self.o_proj(mixed.transpose(1, 2).flatten(2))))


class FeedForward(nn.Module):
    """Two linear layers with `activation` between them."""

    def __init__(self, width: int, inner: int, activation: Callable[[Tensor], Tensor], *, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.activation: Any = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLH: Tensor) -> Tensor:
        """(B, L, H) -> (B, L, H)."""
        return cast(Tensor, self.dropout(self.fc2(self.activation(self.fc1(x_BLH)))))


def chunk_mask(length: int, *, past: int, full: int = 0, device: torch.device | None = None) -> Tensor | None:
    """Causal mask of `length` new tokens behind `past` old ones; the last `full` see everything; None if all do.

    Shapes: (length, past + length), true where a row may look.
    """
    if length - full <= (1 if full == 0 else 0):
        return None
    row = torch.arange(length, device=device)
    column = torch.arange(past + length, device=device)
    return (column[None] <= row[:, None] + past) | (row[:, None] >= length - full)
