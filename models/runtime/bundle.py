"""A bundle: what a stage takes and makes, and what a user loads. The official directory format, and one file of ours.

    config.json  llm_config.json  model.safetensors  vocoder.safetensors  speaker_encoder.safetensors  latent_stats.pt
    tokenizer files                  official names, shapes and semantics
    stipple.json                     ours: stage, run id, fingerprint, parents, licenses (absent from official releases)
    training/<part>.safetensors      ours: parts that only training needs (discriminator, flow, semantic_encoder, ...)

A bundle may be partial while it is being trained: an AudioVAE stage has no backbone yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from models.audiovae.vae import AudioVAE
    from models.backbone.backbone import Backbone
    from models.backbone.config import ModelConfig
    from models.speaker.campplus import SpeakerEncoder


class BundleError(ValueError):
    """A folder that is not a usable bundle. The message is a sentence that names files and tensors."""


@dataclass
class Bundle:
    """Networks and what belongs to them, in memory, float32, on the CPU."""

    config: "ModelConfig"
    audiovae: "AudioVAE"
    speaker: "SpeakerEncoder"
    tokenizer: "PreTrainedTokenizerBase"
    backbone: "Backbone | None" = None
    latent_mean_D: Tensor | None = None
    latent_var_D: Tensor | None = None
    training: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Part -> state dict, for parts that only training needs."""
    card: dict[str, Any] = field(default_factory=dict)
    """stipple.json: where it came from."""


def new_bundle(config: "ModelConfig", *, seed: int, tokenizer: Path | None = None, speaker: Path | None = None) -> Bundle:
    """A bundle with seeded random weights and no backbone.

    `tokenizer`: a folder with an official tokenizer; None builds the byte-level one (models.text.tokens).
    `speaker`: an official `speaker_encoder.safetensors`; None draws random weights (an untrained CAM++).
    """
    raise NotImplementedError


def load_bundle(path: str | Path) -> Bundle:
    """Load an official directory or ours; nothing is unpickled unsafely.

    Raises: BundleError, naming every missing file, or every missing, unexpected or misshapen tensor.
    """
    raise NotImplementedError


def save_bundle(bundle: Bundle, path: str | Path, *, card: Mapping[str, Any] | None = None) -> None:
    """Write the official layout (and our two additions) into the empty or absent folder `path`."""
    raise NotImplementedError
