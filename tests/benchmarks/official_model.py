"""The medium model of the benchmark against the official package: official format, random weights that move."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from models.audiovae.vae import AudioVAE
from models.backbone.backbone import Backbone
from models.backbone.config import ModelConfig
from models.backbone.dit import Modulator
from models.runtime.bundle import Bundle, new_bundle, save_bundle
from models.speaker.campplus import SpeakerEncoder
from models.text.tokens import byte_tokenizer

ROOT = Path(__file__).parents[2]
MEDIUM: dict[str, Any] = {
    "latent_dim": 64,
    "patch_size": 4,
    "cfg_droprate": 0.2,
    "xvec_drop_rate": 0.2,
    "fm_sigma": 0.0,
    "campplus_embedding_size": 512,
    "xvec_max_audio_seconds": 10.0,
    "PatchEncoder": {
        "num_layers": 6,
        "num_heads": 8,
        "hidden_size": 512,
        "ffn_hidden_size": 2048,
        "norm_layer": "RMSNorm",
        "causal": True,
        "input_dim": 64,
    },
    "DiT": {
        "num_layers": 8,
        "num_heads": 8,
        "hidden_size": 512,
        "ffn_hidden_size": 2048,
        "modulation": True,
        "qkv_bias": False,
        "qk_norm": True,
        "norm_layer": "RMSNorm",
        "rotary_bias": True,
        "rotary_theta": 10000.0,
    },
    "vocoder": {
        "sample_rate": 48000,
        "latent_dim": 64,
        "downsample_rates": [2, 2, 2, 4, 6, 10],
        "downsample_channels": [12, 24, 48, 96, 192, 384, 768],
        "upsample_rates": [10, 6, 4, 2, 2, 2],
        "upsample_kernel_sizes": [20, 12, 8, 4, 4, 4],
        "upsample_initial_channel": 512,
        "resblock": "1",
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        "activation": "snakebeta",
        "snake_logscale": True,
        "causal": True,
        "causal_encoder": True,
        "mi_num_layers": 4,
        "use_bias_at_final": False,
        "use_tanh_at_final": False,
    },
}
MEDIUM_LLM: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1.0e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 512,
}


def random_config(name: str, *, meanflow: bool) -> ModelConfig:
    """Configuration `name`: medium, or a file of manifests/models."""
    table, llm = MEDIUM, MEDIUM_LLM
    if name != "medium":
        manifest = yaml.safe_load((ROOT / "manifests" / "models" / f"{name}.yaml").read_text())
        table, llm = manifest["config"], manifest["llm"]
    if meanflow:
        table = {**table, "meanflow": {"enabled": True, "use_duration_embedding": True}}
    return ModelConfig.from_dicts(table, llm)


def random_bundle(name: str, *, meanflow: bool) -> Bundle:
    """A bundle of configuration `name`."""
    bundle = new_bundle(random_config(name, meanflow=meanflow), seed=1)
    torch.manual_seed(2)
    bundle.backbone = Backbone(bundle.config)
    liven(bundle.backbone)
    width = bundle.config.latent_dim
    bundle.latent_mean_D, bundle.latent_var_D = 0.1 * torch.randn(width), 1 + 0.2 * torch.rand(width)
    return bundle


def random_bundle_on(device: str, name: str, *, meanflow: bool) -> Bundle:
    """The same with weights drawn on a device, in a second where the CPU takes a minute; the AudioVAE is no good."""
    config = random_config(name, meanflow=meanflow)
    tokenizer = byte_tokenizer()
    config = replace(config, llm={**config.llm, "vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 0})
    torch.manual_seed(2)
    with torch.device(device):
        audiovae, backbone = AudioVAE(config.audiovae), Backbone(config)
        liven(backbone)
        mean_D, var_D = 0.1 * torch.randn(config.latent_dim), 1 + 0.2 * torch.rand(config.latent_dim)
    return Bundle(
        config=config,
        audiovae=audiovae.eval().requires_grad_(False),
        speaker=SpeakerEncoder(rate_hz=config.audiovae.sample_rate, width=config.campplus_embedding_size).eval(),
        tokenizer=tokenizer,
        backbone=backbone.eval().requires_grad_(False),
        latent_mean_D=mean_D,
        latent_var_D=var_D,
    )


@torch.no_grad()
def liven(backbone: Backbone) -> None:
    """Make everything matter: a fresh head has gates and an output of zero, and would be silent."""
    for module in backbone.modules():
        if isinstance(module, Modulator) and isinstance(module[1], nn.Linear):
            nn.init.normal_(module[1].weight, std=0.02)
            nn.init.normal_(module[1].bias, std=0.2)
    nn.init.normal_(backbone.velocity_field_predictor.output_layer.linear.weight, std=0.04)


def write_checkpoint(folder: Path, *, meanflow: bool) -> None:
    """The medium model, as a directory that both packages load."""
    save_bundle(random_bundle("medium", meanflow=meanflow), folder)
