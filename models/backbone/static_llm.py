"""Qwen2 over a static history: the layers of transformers' model, in the operations that cost a GPU the least.

Same weights and arithmetic; but a norm is one operation, queries, keys and values are one product, and the query heads
that share a key head are read as further tokens of it, so that no keys or values are copied for them.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from models.backbone.attention import turned_pair
from models.backbone.linear import Linear, project
from models.backbone.static import StaticLanguage
from models.fusing import fusable


def behind_static(model: Any, embedding_BLH: Tensor, state: StaticLanguage) -> Tensor:
    """Hidden states after the last norm, of tokens behind what `state` holds: (B, L, H) -> (B, L, H).

    `model`: a Qwen2Model with our linear layers. Keys and values join the state; its length is left to the caller.
    """
    mask_B1LC, position_BL = state.attended(embedding_BLH.shape[1])
    groups = model.config.num_attention_heads // model.config.num_key_value_heads
    mask_B1NC = mask_B1LC.repeat(1, 1, groups, 1)
    cos, sin = model.rotary_emb(embedding_BLH, position_BL)
    x_BLH, first, swiglu = embedding_BLH, model.layers[0].input_layernorm, model.config.hidden_act == "silu"
    normed_BLH = normed(x_BLH, first.weight, first.variance_epsilon)
    following = [*(layer.input_layernorm for layer in model.layers[1:]), model.norm]
    for number, (layer, after) in enumerate(zip(model.layers, following, strict=True)):
        own, mlp, between = layer.self_attn, layer.mlp, layer.post_attention_layernorm
        made_BLH = attended(own, normed_BLH, state, layer=number, mask_B1NC=mask_B1NC, cos=cos, sin=sin)
        x_BLH, normed_BLH = added_and_normed(x_BLH, made_BLH, between.weight, between.variance_epsilon)
        gate, up = mlp.gate_proj(normed_BLH), mlp.up_proj(normed_BLH)
        made_BLH = mlp.down_proj(activated_product(gate, up) if swiglu else mlp.act_fn(gate) * up)
        x_BLH, normed_BLH = added_and_normed(x_BLH, made_BLH, after.weight, after.variance_epsilon)
    return normed_BLH


def attended(
    own: Any, x_BLH: Tensor, state: StaticLanguage, *, layer: int, mask_B1NC: Tensor, cos: Tensor, sin: Tensor
) -> Tensor:
    """Attention of one layer."""
    projections: list[Linear] = [own.q_proj, own.k_proj, own.v_proj]
    B, L, _ = x_BLH.shape
    heads = project(x_BLH, projections).view(B, L, -1, own.head_dim).transpose(1, 2)
    kept = own.k_proj.out_features // own.head_dim
    query, key, value = torch.split(heads, [heads.shape[1] - 2 * kept, kept, kept], 1)
    query, key = turned_pair(query, key, cos, sin)
    key, value = state.join(key, value, layer=layer)
    query_BANE = query.reshape(B, kept, -1, own.head_dim)
    mixed_BANE = functional.scaled_dot_product_attention(query_BANE, key, value, attn_mask=mask_B1NC, scale=own.scaling)
    mixed_BALE = mixed_BANE.reshape(B, -1, L, own.head_dim)
    return cast(Tensor, own.o_proj(mixed_BALE.transpose(1, 2).flatten(2)))


def normed(x_BLH: Tensor, weight_H: Tensor, epsilon: float) -> Tensor:
    """RMS norm."""
    return functional.rms_norm(x_BLH, x_BLH.shape[-1:], weight_H, epsilon)


@fusable
def added_and_normed(x_BLH: Tensor, made_BLH: Tensor, weight_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """What a branch made, added; and that as the next branch takes it."""
    x_BLH = x_BLH + made_BLH
    return x_BLH, normed(x_BLH, weight_H, epsilon)


@fusable
def activated_product(gate: Tensor, up: Tensor) -> Tensor:
    """SwiGLU."""
    return functional.silu(gate) * up
