"""A small random WavLM speaker checkpoint in the names in which UniSpeech released the large one."""

from typing import Any

import torch
from torch import Tensor

WIDTH, CHANNELS, INNER, LAYERS, HEADS, BUCKETS, TAPS, GROUPS = 32, 16, 48, 3, 2, 32, 16, 4
KERNELS = (10, 3, 3, 3, 3, 2, 2)
SMALL, WIDE, GATE, OUT = 32, 48, 8, 24
ROOT = "feature_extract.model"


def release(seed: int = 0) -> dict[str, Any]:
    """What `torch.load` of the released file gives: tensors under `model`, and those that only training needs."""
    random = torch.Generator().manual_seed(seed)

    def tensor(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random) / max(1, shape[-1]) ** 0.5

    def layer(name: str, *shape: int) -> dict[str, Tensor]:
        fan = shape[1] * (shape[2] if len(shape) > 2 else 1)
        weight = torch.randn(*shape, generator=random) * (2 / fan) ** 0.5
        return {f"{name}.weight": weight, f"{name}.bias": 0.1 * tensor(shape[0])}

    def norm(name: str, width: int) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + 0.1 * tensor(width), f"{name}.bias": 0.1 * tensor(width)}

    def batch_norm(name: str, width: int) -> dict[str, Tensor]:
        mean, variance = 0.2 * torch.rand(width, generator=random), 0.5 + torch.rand(width, generator=random)
        counted = {f"{name}.num_batches_tracked": torch.tensor(7)}
        return norm(name, width) | {f"{name}.running_mean": mean, f"{name}.running_var": variance} | counted

    state: dict[str, Tensor] = {"feature_weight": tensor(LAYERS + 1)}
    for number, kernel in enumerate(KERNELS):
        inside = CHANNELS if number else 1
        weight = torch.randn(CHANNELS, inside, kernel, generator=random) * (2 / (inside * kernel)) ** 0.5
        state[f"{ROOT}.feature_extractor.conv_layers.{number}.0.weight"] = weight
        state |= norm(f"{ROOT}.feature_extractor.conv_layers.{number}.2.1", CHANNELS)
    state |= norm(f"{ROOT}.layer_norm", CHANNELS) | layer(f"{ROOT}.post_extract_proj", WIDTH, CHANNELS)
    state[f"{ROOT}.mask_emb"] = tensor(WIDTH)
    state[f"{ROOT}.encoder.pos_conv.0.weight_g"] = 1 + 0.1 * torch.rand(1, 1, TAPS, generator=random)
    state[f"{ROOT}.encoder.pos_conv.0.weight_v"] = tensor(WIDTH, WIDTH // GROUPS, TAPS)
    state[f"{ROOT}.encoder.pos_conv.0.bias"] = tensor(WIDTH)
    state |= norm(f"{ROOT}.encoder.layer_norm", WIDTH)
    for number in range(LAYERS):
        one = f"{ROOT}.encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            state |= layer(f"{one}.self_attn.{part}", WIDTH, WIDTH)
        state |= layer(f"{one}.self_attn.grep_linear", 8, WIDTH // HEADS)
        state[f"{one}.self_attn.grep_a"] = 1 + 0.1 * torch.rand(1, HEADS, 1, 1, generator=random)
        state |= norm(f"{one}.self_attn_layer_norm", WIDTH) | norm(f"{one}.final_layer_norm", WIDTH)
        state |= layer(f"{one}.fc1", INNER, WIDTH) | layer(f"{one}.fc2", WIDTH, INNER)
    state[f"{ROOT}.encoder.layers.0.self_attn.relative_attention_bias.weight"] = tensor(BUCKETS, HEADS)
    state |= layer("layer1.conv", SMALL, WIDTH, 5) | batch_norm("layer1.bn", SMALL)
    for number in (2, 3, 4):
        for name in ("Conv1dReluBn1", "Conv1dReluBn2"):
            state |= layer(f"layer{number}.{name}.conv", SMALL, SMALL, 1) | batch_norm(
                f"layer{number}.{name}.bn", SMALL
            )
        for group in range(7):
            state |= layer(f"layer{number}.Res2Conv1dReluBn.convs.{group}", SMALL // 8, SMALL // 8, 3)
            state |= batch_norm(f"layer{number}.Res2Conv1dReluBn.bns.{group}", SMALL // 8)
        state |= layer(f"layer{number}.SE_Connect.linear1", GATE, SMALL)
        state |= layer(f"layer{number}.SE_Connect.linear2", SMALL, GATE)
    state |= layer("conv", WIDE, 3 * SMALL, 1) | layer("pooling.linear1", GATE, WIDE, 1)
    state |= layer("pooling.linear2", WIDE, GATE, 1) | batch_norm("bn", 2 * WIDE) | layer("linear", OUT, 2 * WIDE)
    return {"model": state | {"loss_calculator.projection.weight": tensor(5, OUT)}}
