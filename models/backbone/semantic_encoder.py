"""The semantic encoder (`patch_encoder` in a checkpoint): raw latents at 25 Hz to one LLM embedding a patch."""

from typing import cast

import torch
from torch import Tensor, nn

from models.backbone.attention import Attention, FeedForward, norm_layer
from models.backbone.config import SemanticEncoderConfig
from models.backbone.history import KeyValues, Past
from models.backbone.layout import causal_within
from models.backbone.linear import Linear
from models.backbone.state import SemanticState
from models.backbone.static import StaticSemantic


class Layer(nn.Module):
    """Pre-norm Transformer layer without positions."""

    def __init__(self, config: SemanticEncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.attn_norm = norm_layer(config.norm_layer, width)
        self.attn = Attention(width, heads=config.num_heads)
        self.ffn_norm = norm_layer(config.norm_layer, width)
        self.ffn = FeedForward(width, config.ffn_hidden_size, "silu")

    def forward(self, x_BLH: Tensor, past: Past | None = None, mask: Tensor | None = None) -> Tensor:
        """Causal, or as `mask` says; behind `past`, which all new tokens join."""
        normed_BLH = self.attn_norm(x_BLH)
        if past is None:
            x_BLH = x_BLH + self.attn(normed_BLH, mask=mask, causal=mask is None)
        else:
            x_BLH = x_BLH + self.attn(normed_BLH, mask=mask, past=past, keep=x_BLH.shape[1])
        return cast(Tensor, x_BLH + self.ffn(self.ffn_norm(x_BLH)))


class Encoder(nn.Module):
    """The stack of layers, a module of its own only because checkpoints name it so."""

    def __init__(self, config: SemanticEncoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))


class SemanticEncoder(nn.Module):
    """Causal: the embedding of patch n depends on frames up to its end, less the last one, and on nothing later."""

    def __init__(self, config: SemanticEncoderConfig, *, latent_dim: int, patch_size: int, hidden_size: int) -> None:
        super().__init__()
        self.group = patch_size // 2
        self.ds_proj = nn.Conv1d(latent_dim, latent_dim, 2, stride=2)
        self.in_proj = Linear(latent_dim, config.hidden_size)
        self.encoder = Encoder(config)
        self.out_proj = Linear(self.group * config.hidden_size, hidden_size)

    @torch.no_grad()
    def expect(self, mean_D: Tensor, var_D: Tensor) -> None:
        """Fold the normalization of raw latents into the first convolution; for weights that have not been trained.

        Raw latents may be small beside the biases, and then every patch gets nearly the same embedding, which a norm
        in the LLM would leave without information. Shapes: (D,) and (D,).
        """
        weight = self.ds_proj.weight / var_D.sqrt()[None, :, None]
        assert self.ds_proj.bias is not None
        self.ds_proj.bias -= (weight * mean_D[None, :, None]).sum(dim=(1, 2))
        self.ds_proj.weight.copy_(weight)

    def start(self, batch: int) -> SemanticState:
        """The state before the first frame: silence on the left."""
        weight = self.in_proj.weight
        tail_B1D = weight.new_zeros(batch, 1, self.in_proj.in_features)
        return SemanticState(tail_B1D, [KeyValues() for _ in self.encoder.layers])

    def forward(
        self,
        latent_BFD: Tensor,
        state: SemanticState | StaticSemantic | None = None,
        *,
        patches_N: Tensor | None = None,
    ) -> Tensor:
        """Embeddings of whole patches of raw (not normalized) latents; with `state`, behind those it has seen.

        Shapes: (B, F, D) -> (B, P, H) with F = P * patch_size. `patches_N`: the only row holds utterances of so many.
        """
        latent_BFD = latent_BFD.to(self.in_proj.weight.dtype)
        tail_B1D = torch.zeros_like(latent_BFD[:, :1]) if state is None else state.tail_B1D
        shifted_BFD = torch.cat([tail_B1D, latent_BFD[:, :-1]], dim=1)
        if patches_N is not None:  # silence before every utterance
            first_N = (patches_N.cumsum(0) - patches_N) * 2 * self.group
            shifted_BFD = shifted_BFD.index_fill(1, first_N, 0.0)
        x_BLH = self.in_proj(self.ds_proj(shifted_BFD.transpose(1, 2)).transpose(1, 2))
        if state is None:
            mask = None if patches_N is None else causal_within(patches_N * self.group)[1]
            for layer in self.encoder.layers:
                x_BLH = layer(x_BLH, mask=mask)
        else:
            mask = state.mask(x_BLH.shape[1])
            for number, layer in enumerate(self.encoder.layers):
                x_BLH = layer(x_BLH, state.past[number], mask)
            state.heard(latent_BFD, new=x_BLH.shape[1])
        return cast(Tensor, self.out_proj(x_BLH.unflatten(1, (-1, self.group)).flatten(2)))
