"""A whole model with very small numbers, whose untrained head still moves: for tests that need one."""

from typing import Any

import torch

from models.backbone.backbone import Backbone
from models.backbone.config import ModelConfig
from models.runtime.bundle import Bundle, new_bundle

CONFIG: dict[str, Any] = {
    "latent_dim": 8,
    "patch_size": 4,
    "PatchEncoder": {
        "num_layers": 1,
        "num_heads": 2,
        "hidden_size": 32,
        "ffn_hidden_size": 64,
        "norm_layer": "RMSNorm",
    },
    "DiT": {"num_layers": 1, "num_heads": 2, "hidden_size": 32, "ffn_hidden_size": 64, "norm_layer": "RMSNorm"},
    "vocoder": {
        "latent_dim": 8,
        "downsample_channels": [12, 12, 12, 16, 16, 16, 16],
        "upsample_initial_channel": 64,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3]],
        "mi_num_layers": 1,
    },
}
LLM: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "vocab_size": 1,
}


def small_bundle(*, seed: int = 1, backbone: bool = True, llm: dict[str, Any] | None = None, **changes: Any) -> Bundle:
    """A bundle with random weights; `llm` are keys of llm_config.json, `changes` of config.json."""
    bundle = new_bundle(ModelConfig.from_dicts({**CONFIG, **changes}, {**LLM, **(llm or {})}), seed=seed)
    if backbone:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            bundle.backbone = Backbone(bundle.config).eval()
            for parameter in bundle.backbone.velocity_field_predictor.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
        bundle.latent_mean_D = torch.linspace(-0.5, 0.5, 8)
        bundle.latent_var_D = torch.linspace(0.5, 1.5, 8)
    return bundle


def bundle_that_stops_at(probability: float) -> Bundle:
    """A bundle whose stop head says the same of every hidden state."""
    bundle = small_bundle()
    assert bundle.backbone is not None
    with torch.no_grad():
        head = bundle.backbone.eos_proj[2]
        head.weight.zero_()
        head.bias.copy_(torch.tensor([1 - probability, probability]).log())
    return bundle
