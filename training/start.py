"""The bundle that a stage begins with: the one before it, or a new one with seeded random weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from infra.manifest import ManifestError
from models.runtime.bundle import Bundle, BundleError, load_bundle, new_bundle
from models.runtime.files import as_bundle_error
from training.data.collate import FRAME, PATCH, RATE_HZ
from training.declared import players_of
from training.manifest import ModelManifest, StageManifest, load_model

if TYPE_CHECKING:
    from models.backbone.config import ModelConfig


def stop_unless_fit(manifest: StageManifest, config: "ModelConfig") -> None:
    """Hold a stage against the bundle that it starts from, by the bundle's configuration alone.

    Raises: BundleError where the stage would train what is none of its kind.
    """
    from training.objectives.backbone import refuse_distilled

    if wrong := other_sound(config):
        raise BundleError(wrong)
    if "backbone" in players_of(manifest.objective.name):
        refuse_distilled(config, needed=f"objective {manifest.objective.name}")


def other_sound(config: "ModelConfig") -> str:
    """A sentence where a model takes other sound than training reads; nothing where it does not."""
    rate_hz, hop, patch = config.audiovae.sample_rate, config.audiovae.hop, config.patch_samples
    if (rate_hz, hop, PATCH % patch) == (RATE_HZ, FRAME, 0):
        return ""
    return (
        f"this model takes {rate_hz} Hz, {hop} samples a frame and {patch} a patch, and stages train on {RATE_HZ} Hz, "
        f"{FRAME} a frame and {PATCH} (or a whole part of it) a patch: give another model"
    )


def config_of_model(name: str, model: ModelManifest) -> "ModelConfig":
    """The configuration that a file of manifests/models states, of which networks can be made.

    Raises: ManifestError where it cannot be used.
    """
    import torch

    from models.backbone.backbone import Backbone
    from models.backbone.config import ModelConfig

    try:
        with as_bundle_error("no networks can be made of it"), torch.device("meta"):
            config = ModelConfig.from_dicts(model.config, model.llm)
            Backbone(config)
    except BundleError as error:
        raise ManifestError(f"manifests/models/{name}.yaml", [str(error)]) from None
    if wrong := other_sound(config):
        raise ManifestError(f"manifests/models/{name}.yaml", [wrong])
    return config


def starting_bundle(manifest: StageManifest, *, start_from: str | Path | None) -> Bundle:
    """Load `start_from`, or make the networks of `manifest.model`.

    Raises: ManifestError when there is neither; BundleError.
    """
    if start_from is not None:
        return load_bundle(start_from)
    if manifest.model is None:
        raise ManifestError(
            f"stage {manifest.stage}", ["it has no start_from and no model: give it a bundle, or the name of a model"]
        )
    model = load_model(manifest.model)
    config = config_of_model(manifest.model, model)
    return new_bundle(config, seed=manifest.seed, tokenizer=model.tokenizer, speaker=model.speaker)
