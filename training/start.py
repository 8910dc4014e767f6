"""The bundle that a stage begins with: the one before it, or a new one with seeded random weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from infra.manifest import ManifestError
from models.runtime.bundle import Bundle, load_bundle, new_bundle
from training.manifest import StageManifest, load_model, players_of

if TYPE_CHECKING:
    from models.backbone.config import ModelConfig


def stop_unless_fit(manifest: StageManifest, config: "ModelConfig") -> None:
    """Hold a stage against the bundle that it starts from, by the bundle's configuration alone.

    Raises: BundleError where the stage would train what is none of its kind.
    """
    from training.objectives.backbone import refuse_distilled

    if "backbone" in players_of(manifest.objective.name):
        refuse_distilled(config, needed=f"objective {manifest.objective.name}")


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
    from models.backbone.config import ModelConfig

    model = load_model(manifest.model)
    try:
        config = ModelConfig.from_dicts(model.config, model.llm)
    except (TypeError, ValueError, KeyError) as error:
        raise ManifestError(f"manifests/models/{manifest.model}.yaml", [str(error)]) from None
    return new_bundle(
        config,
        seed=manifest.seed,
        tokenizer=model.tokenizer,
        speaker=model.speaker,
    )
