"""Modes of speech that the official package was recorded in, beside those that lie in ../shared.

The recordings are in tests/golden/official; tests/golden/record_official.py made them, with the official package.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from models.backbone.backbone import Backbone
from models.backbone.config import ModelConfig
from models.runtime.bundle import new_bundle, save_bundle

TEXT = "Hello world, this is a tiny oracle."
TRANSCRIPT = "\u53c2\u8003\u6587\u672c\uff0c\u4e00\u4e8c\u4e09\u56db\u4e94\u3002"
EVERY = 37
"""Of the audio, every so manieth sample is kept."""
Prompt = Literal["none", "xvector", "pair", "long xvector", "long pair"]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """How one recording was made."""

    how: Literal["offline", "stream", "session"] = "offline"
    prompt: Prompt = "none"
    meanflow: bool = False
    """The MeanFlow variant of the small checkpoint."""
    config: dict[str, Any] = field(default_factory=dict)
    """What was changed in config.json."""
    shape: str | None = None
    """A checkpoint of other dimensions with random weights, instead of the small one."""
    most: int = 12
    """Patches, the prompt's included: the official maximum."""
    options: dict[str, Any] = field(default_factory=dict)


SCM = {"sampling": {"solver": "scm"}}
ONE = {"sampling": {"solver": "flow_matching", "num_steps": 1}}
RATIO = {"streaming": {"interleave_mode": "buffered_ratio", "initial_lookahead": 4, "ta_per_tta": 3, "warmup_ta": 2}}
INTERLEAVED = {"template": "tts_interleave", "num_steps": 3}
CASES: dict[str, Recorded] = {
    "xvector": Recorded(prompt="xvector", options={"num_steps": 3, "speaker_scale": 0.7, "language": "zh"}),
    "rk4": Recorded(prompt="pair", options={"num_steps": 3, "method": "rk4"}),
    "natural_stop": Recorded(prompt="pair", most=40, options={"num_steps": 6, "language": "EN"}),
    "long_prompt": Recorded(prompt="long pair", most=100, options={"num_steps": 2}),
    "no_guidance": Recorded(prompt="xvector", options={"num_steps": 3, "method": "midpoint", "guidance_scale": 0.0}),
    "interleaved": Recorded(most=24, options=INTERLEAVED),
    "interleaved_pair": Recorded(prompt="pair", most=40, options={**INTERLEAVED, "language": "EN"}),
    "meanflow_stream": Recorded(how="stream", meanflow=True, options={"num_steps": 4}),
    "meanflow_interleaved": Recorded(prompt="pair", meanflow=True, most=40, options=INTERLEAVED),
    "one_step": Recorded(prompt="pair", config=ONE),
    "one_step_of_meanflow": Recorded(prompt="xvector", meanflow=True, config=ONE),
    "scm": Recorded(prompt="pair", config=SCM),
    "scm_sigma": Recorded(prompt="pair", config={**SCM, "fm_sigma": 0.1}),
    "scm_of_meanflow_stream": Recorded(
        how="stream", meanflow=True, config={"sampling": {"solver": "scm", "tau_mid": 1.1}}
    ),
    "session": Recorded(how="session", most=40, options={"num_steps": 3}),
    "session_xvector": Recorded(how="session", prompt="xvector", most=40, options={"num_steps": 3}),
    "session_pair": Recorded(how="session", prompt="pair", most=60, options={"num_steps": 3}),
    "session_silence": Recorded(how="session", most=40, options={"num_steps": 2, "initial_silence": 3}),
    "session_ratio": Recorded(how="session", meanflow=True, config={**SCM, **RATIO}, most=60),
    "session_ratio_pair": Recorded(how="session", prompt="pair", meanflow=True, config={**SCM, **RATIO}, most=60),
    "two_frames_a_patch": Recorded(prompt="pair", shape="two", most=40, options={"num_steps": 3}),
    "two_frames_interleaved_stream": Recorded(
        how="stream", prompt="xvector", shape="two", most=30, options=INTERLEAVED
    ),
    "six_frames_a_patch": Recorded(prompt="pair", shape="six", options={"num_steps": 3}),
    "at_24_khz": Recorded(prompt="xvector", shape="24 kHz", options={"num_steps": 3}),
    "at_16_khz_stream": Recorded(how="stream", prompt="pair", shape="16 kHz", most=20, options={"num_steps": 2}),
}

SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "two": (
        {
            "latent_dim": 8,
            "patch_size": 2,
            "PatchEncoder": {"hidden_size": 48, "num_heads": 3, "norm_layer": "LayerNorm", "num_layers": 3},
            "DiT": {"hidden_size": 96, "num_heads": 2, "norm_layer": "LayerNorm", "num_layers": 3},
            "vocoder": {"latent_dim": 8, "mi_num_layers": 1},
        },
        {"hidden_size": 96, "num_key_value_heads": 1, "intermediate_size": 100, "num_hidden_layers": 3},
    ),
    "six": (
        {
            "latent_dim": 24,
            "patch_size": 6,
            "PatchEncoder": {"hidden_size": 40, "num_heads": 5},
            "DiT": {"qk_norm": False, "qkv_bias": True, "rotary_theta": 500.0},
            "vocoder": {
                "latent_dim": 24,
                "upsample_initial_channel": 64,
                "use_bias_at_final": True,
                "use_tanh_at_final": True,
            },
        },
        {"tie_word_embeddings": False, "rope_theta": 10000.0},
    ),
    "24 kHz": (
        {
            "DiT": {"rotary_bias": False},
            "fm_sigma": 0.05,
            "vocoder": {
                "sample_rate": 24000,
                "upsample_rates": [5, 3, 4, 2, 2, 2],
                "upsample_kernel_sizes": [10, 6, 8, 4, 4, 4],
                "downsample_rates": [2, 2, 2, 4, 3, 5],
                "resblock_kernel_sizes": [3, 5],
                "resblock_dilation_sizes": [[1, 3, 5], [1, 2, 4]],
            },
        },
        {},
    ),
    "16 kHz": (
        {
            "latent_dim": 10,
            "campplus_embedding_size": 192,
            "xvec_max_audio_seconds": 0.4,
            "vocoder": {
                "latent_dim": 10,
                "sample_rate": 16000,
                "upsample_rates": [8, 5, 4, 4],
                "upsample_kernel_sizes": [16, 10, 8, 8],
                "downsample_rates": [2, 4, 5, 16],
                "downsample_channels": [12, 12, 16, 24, 32],
                "num_encoder_lookahead": 0,
                "num_decoder_lookahead": 3,
            },
        },
        {"num_key_value_heads": 1, "head_dim": 24},
    ),
}
"""What differs from the small checkpoint in config.json and llm_config.json."""


def folder_of(case: Recorded, *, parity: Path, at: Path) -> Path:
    """The checkpoint of a recording, written to `at`."""
    if case.shape is not None:
        return random_folder(case.shape, parity=parity, at=at)
    at.mkdir()
    for name in ("tiny_ckpt", "tiny_mf")[: 2 if case.meanflow else 1]:
        for file in (parity / name).iterdir():
            (at / file.name).unlink(missing_ok=True)
            shutil.copyfile(file, at / file.name)
    config = json.loads((at / "config.json").read_text())
    (at / "config.json").write_text(json.dumps({**config, **case.config}))
    return at


def random_folder(shape: str, *, parity: Path, at: Path) -> Path:
    """A checkpoint of other dimensions; its weights are random, and the same every time."""
    small = parity / "tiny_ckpt"
    config = json.loads((small / "config.json").read_text())
    changes, llm_changes = SHAPES[shape]
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    llm = {**json.loads((small / "llm_config.json").read_text()), **llm_changes}
    at_48_khz = config["vocoder"]["sample_rate"] == 48000
    bundle = new_bundle(
        ModelConfig.from_dicts(config, llm),
        seed=1,
        tokenizer=small,
        speaker=small / "speaker_encoder.safetensors" if at_48_khz else None,
    )
    draw = torch.Generator().manual_seed(2)
    bundle.backbone = Backbone(bundle.config)
    with torch.no_grad():
        for name, parameter in bundle.backbone.named_parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            if "embed_tokens" in name:
                parameter.copy_(0.5 * noise)
            elif parameter.dim() > 1:
                parameter.copy_(0.6 * noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(1 + 0.1 * noise if "norm" in name and "weight" in name else 0.1 * noise)
    width = bundle.config.latent_dim
    bundle.latent_mean_D = 0.3 * torch.randn(width, generator=draw)
    bundle.latent_var_D = 0.5 + torch.rand(width, generator=draw)
    save_bundle(bundle, at)
    (at / "stipple.json").unlink()
    return at


def prompt_of(case: Recorded, *, parity: Path, at: Path) -> Path | None:
    """The prompt audio of a recording; a long one is the short one over and over, rising, written to `at`."""
    import soundfile

    short = parity / "fixtures" / "prompt.wav"
    if case.prompt == "none":
        return None
    if not case.prompt.startswith("long"):
        return short
    wave_S, rate_hz = soundfile.read(short, dtype="float32")
    samples = 13 * rate_hz
    rising_S = np.resize(wave_S, samples) * np.linspace(0.5, 1, samples, dtype=np.float32)
    soundfile.write(at, rising_S, rate_hz, subtype="FLOAT")
    return at
