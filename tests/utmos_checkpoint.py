"""A small random UTMOS22 strong in both layouts in which it was released."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.frozen.utmos import JUDGE

WIDTH, CHANNELS, INNER, LAYERS, HEADS, EMBEDDING, HIDDEN = 128, 16, 96, 2, 2, 8, 24
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)


def speechmos(seed: int = 0) -> dict[str, Tensor]:
    """A small random checkpoint in the names of SpeechMOS' release."""
    random = torch.Generator().manual_seed(seed)

    def tensor(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random) / max(1, shape[-1]) ** 0.5

    def linear(name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
        return {f"{name}.weight": tensor(outputs, inputs), f"{name}.bias": 0.1 * tensor(outputs)}

    def norm(name: str, width: int) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + 0.1 * tensor(width), f"{name}.bias": 0.1 * tensor(width)}

    state = {}
    for number, kernel in enumerate(KERNELS):
        inputs = 1 if number == 0 else CHANNELS
        weight = torch.randn(CHANNELS, inputs, kernel, generator=random) * (2 / (inputs * kernel)) ** 0.5
        state[f"wav2vec2.feature_extractor.conv_layers.{number}.0.weight"] = weight
    state |= norm("wav2vec2.feature_extractor.conv_layers.0.2", CHANNELS)
    state |= norm("wav2vec2.layer_norm", CHANNELS) | linear("wav2vec2.post_extract_proj", CHANNELS, WIDTH)
    state["wav2vec2.mask_emb"] = tensor(WIDTH)
    state["wav2vec2.encoder.pos_conv.0.weight_g"] = 1 + 0.1 * torch.rand(1, 1, 128, generator=random)
    state["wav2vec2.encoder.pos_conv.0.weight_v"] = tensor(WIDTH, WIDTH // 16, 128)
    state["wav2vec2.encoder.pos_conv.0.bias"] = tensor(WIDTH)
    state |= norm("wav2vec2.encoder.layer_norm", WIDTH)
    for number in range(LAYERS):
        layer = f"wav2vec2.encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            state |= linear(f"{layer}.self_attn.{part}", WIDTH, WIDTH)
        state |= norm(f"{layer}.self_attn_layer_norm", WIDTH) | norm(f"{layer}.final_layer_norm", WIDTH)
        state |= linear(f"{layer}.fc1", WIDTH, INNER) | linear(f"{layer}.fc2", INNER, WIDTH)
    state |= {"domain_emb": tensor(1, EMBEDDING), "judge_emb": tensor(1, EMBEDDING)}
    for ending in ("", "_reverse"):
        state[f"blstm.weight_ih_l0{ending}"] = tensor(4 * HIDDEN, WIDTH + 2 * EMBEDDING)
        state[f"blstm.weight_hh_l0{ending}"] = tensor(4 * HIDDEN, HIDDEN)
        state[f"blstm.bias_ih_l0{ending}"] = tensor(4 * HIDDEN)
        state[f"blstm.bias_hh_l0{ending}"] = tensor(4 * HIDDEN)
    return state | linear("projection.0", 2 * HIDDEN, 32) | linear("projection.2", 32, 1)


def lightning(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The same weights as the authors' Lightning checkpoint holds them, with its settings in OmegaConf."""
    from omegaconf import OmegaConf

    random = torch.Generator().manual_seed(9)
    tables = {name: torch.randn(rows, EMBEDDING, generator=random) for name, rows in (("domain", 3), ("judge", 3000))}
    tables["domain"][0], tables["judge"][JUDGE] = state["domain_emb"][0], state["judge_emb"][0]
    found = {
        "feature_extractors.1.embedding.weight": tables["domain"],
        "output_layers.0.judge_embedding.weight": tables["judge"],
    }
    for name, value in state.items():
        if name.startswith("wav2vec2."):
            found["feature_extractors.0.ssl_model." + name.removeprefix("wav2vec2.")] = value
        elif name.startswith("blstm."):
            found["output_layers.0.decoder_rnn." + name.removeprefix("blstm.")] = value
        elif name.startswith("projection."):
            found[
                name.replace("projection.0", "output_layers.1.net.0").replace("projection.2", "output_layers.1.net.3")
            ] = value
    settings = OmegaConf.create(
        {"model": {"feature_extractors": [{"cp_path": "wav2vec_small.pt"}]}, "train": {"lr": 1e-5}}
    )
    return {"epoch": 3, "global_step": 7459, "state_dict": found, "hyper_parameters": {"cfg": settings}}
