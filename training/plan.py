"""What a stage would cost, before anything is started: parameters, memory by ZeRO stage, audio, time, price."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from infra.cluster import ClusterManifest
from infra.log import clock
from infra.manifest import ManifestError
from infra.objects import Place, place_of
from training import start
from training.compute import compute
from training.compute import lines as about_compute
from training.data.batching import plan_of, sources_of
from training.data.collate import PATCH, RATE_HZ
from training.data.stream import about_held_out, seconds_of
from training.declared import players_of
from training.manifest import StageManifest, load_model
from training.roles import misfits

if TYPE_CHECKING:
    from torch import nn

    from infra.buckets import Storage
    from models.backbone.config import ModelConfig

GIB = 2**30
WEIGHT, GRADIENT, STATE = 4, 4, 8
"""Bytes a trained parameter: float32 weight, float32 gradient, two float32 moments of AdamW."""


def lines(
    manifest: StageManifest,
    *,
    data: Mapping[str, str | Path],
    start_from: Path | None,
    storage: "Storage | None" = None,
    cluster: ClusterManifest,
    named: str,
) -> Iterator[str]:
    """The plan, a line at a time. `data`: role -> the folder of a corpus, or its URL in a store that `storage`
    describes; without any, nothing is said of data. `named`: where the manifest of the cluster lies."""
    seconds = manifest.data.seconds_per_step
    share = seconds / manifest.workers / manifest.engine.accumulation
    players = ", ".join(players_of(manifest.objective.name))
    yield f"stage       {manifest.stage}: {manifest.objective.name}, players {players}"
    patches = seconds * RATE_HZ / PATCH
    yield (
        f"steps       {manifest.steps}, of {seconds:g} s ({patches:,.0f} patches) each: "
        f"{manifest.steps * seconds / 3600:,.1f} hours of audio, {manifest.steps * patches:,.0f} patches"
    )
    yield (
        f"workers     {manifest.workers} ({manifest.device}), engine {manifest.engine.name}, "
        f"{manifest.engine.accumulation} micro-batch{'es' * (manifest.engine.accumulation > 1)} of about {share:.1f} s "
        "on each"
    )
    if data:
        given = dict.fromkeys([*data, *(["start_from"] if start_from or manifest.model is None else [])])
        if wrong := misfits(manifest, given):
            raise ManifestError(f"stage {manifest.stage}", wrong)
        yield from about_data(manifest, {role: place_of(place, storage) for role, place in data.items()})
    config = config_of(manifest, start_from=start_from)
    if config is None:
        yield "parameters  unknown: give --from, or set `model`"
        return
    made = networks(manifest, config)
    counts = parameters(manifest, made)
    yield "parameters  " + ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in counts.items())
    moved = trained(manifest, counts)
    yield f"trained     {moved / 1e6:.2f} M"
    for stage, size in memory(moved, frozen=sum(counts.values()) - moved, workers=manifest.workers).items():
        mark = " <- this manifest" if stage == asked(manifest) else ""
        yield f"memory      {stage:7} {size / GIB:8.2f} GiB a worker, before activations{mark}"
    if manifest.engine.offload:
        yield f"            of it {moved * STATE / manifest.workers / GIB:.2f} GiB in the memory of the host (offload)"
    yield from about_compute(manifest, compute(manifest, made), cluster=cluster, named=named)


def about_data(manifest: StageManifest, folders: Mapping[str, Place]) -> Iterator[str]:
    """Samples, hours and epochs of the mixture."""
    sources = sources_of(manifest, folders=folders)
    plan = plan_of(manifest, sources)
    yield (
        f"data        {sum(len(s.numbers) for s in sources)} samples, {clock(seconds_of(sources))}; "
        f"{about_held_out(sources)}; {plan.steps_in_epoch} "
        f"step{'s' * (plan.steps_in_epoch > 1)} an epoch, {manifest.steps / plan.steps_in_epoch:.1f} epochs"
    )
    if uneven := plan.uneven(asked=manifest.data.seconds_per_step):
        yield f"            {uneven}"


def config_of(manifest: StageManifest, *, start_from: Path | None) -> "ModelConfig | None":
    """The networks that a stage begins from; None where nobody says.

    Raises: ManifestError when the model's manifest cannot be used; BundleError when the stage cannot start from it.
    """
    if start_from is not None:
        from models.runtime.bundle import find_bundle, with_vocabulary
        from models.runtime.configuration import read_config
        from models.runtime.files import read_tokenizer

        root = find_bundle(start_from)
        config = with_vocabulary(read_config(root), len(read_tokenizer(root)))
        start.stop_unless_fit(manifest, config)
        return config
    return None if manifest.model is None else start.config_of_model(manifest.model, load_model(manifest.model))


def networks(manifest: StageManifest, config: "ModelConfig") -> dict[str, "nn.Module"]:
    """The networks of a stage, by name; nothing is allocated."""
    import torch

    from models.audiovae.vae import AudioVAE
    from models.backbone.backbone import Backbone

    with torch.device("meta"):
        vae = AudioVAE(config.audiovae)
        if "generator" in players_of(manifest.objective.name):
            return {"audiovae": vae, **discriminator_and_readers(manifest, config)}
        return {"audiovae": vae, "backbone": Backbone(config)}


def discriminator_and_readers(manifest: StageManifest, config: "ModelConfig") -> dict[str, "nn.Module"]:
    """What an AudioVAE stage trains beside the AudioVAE."""
    from models.audiovae.discriminators import Discriminator, DiscriminatorConfig
    from models.audiovae.flow import PosteriorFlow
    from models.audiovae.supervision import HeadConfig, Supervision
    from training.objectives import audiovae, audiovae_semantic

    cfg = manifest.objective.settings
    assert isinstance(cfg, audiovae.Config)
    of_discriminator = DiscriminatorConfig(rate_hz=config.audiovae.sample_rate, **cfg.discriminator.model_dump())
    flow = PosteriorFlow(config.audiovae.latent_dim, **cfg.flow.model_dump())
    found: dict[str, nn.Module] = {"flow": flow, "discriminator": Discriminator(of_discriminator)}
    if isinstance(cfg, audiovae_semantic.Config):
        words, head = int(config.llm["vocab_size"]), HeadConfig(**cfg.head.model_dump())
        found["readers"] = Supervision(config, words=words, head=head, teacher_width=None)
    return found


def parameters(manifest: StageManifest, networks: Mapping[str, "nn.Module"]) -> dict[str, int]:
    """Parameters of each network, as a person would name them."""
    from models.audiovae.supervision import Supervision
    from models.backbone.backbone import Backbone

    found = {name: count(network) for name, network in networks.items()}
    readers, backbone = networks.get("readers"), networks.get("backbone")
    if isinstance(readers, Supervision):
        encoder = count(readers.encoder)
        found |= {"semantic encoder": encoder, "its language model": found.pop("readers") - encoder}
    if isinstance(backbone, Backbone):
        llm, head = count(backbone.llm), count(backbone.velocity_field_predictor)
        found |= {"llm": llm, "head": head, "rest": found.pop("backbone") - llm - head}
        found |= {"teacher": head} if manifest.objective.name == "meanflow" else {}
    return found


def count(network: "nn.Module") -> int:
    """Parameters of a network, shared ones once."""
    return sum(parameter.numel() for parameter in network.parameters())


def trained(manifest: StageManifest, counts: Mapping[str, int]) -> int:
    """Parameters that the objective moves."""
    if "generator" in players_of(manifest.objective.name):
        return sum(counts.values())
    if manifest.objective.name in ("soar", "meanflow"):
        return counts["head"]
    frozen = getattr(manifest.objective.settings, "freeze", ())
    return sum(counts[name] for name in ("llm", "head", "rest") if name not in frozen)


def asked(manifest: StageManifest) -> str:
    """The row of the memory table that the manifest asks for."""
    return "plain" if manifest.engine.name == "plain" else f"ZeRO-{manifest.engine.zero_stage}"


def memory(trained: int, *, frozen: int, workers: int) -> dict[str, float]:
    """Bytes on each worker for weights, gradients and optimizer, by what is spread over the workers."""
    still = frozen * WEIGHT
    return {
        "plain": still + trained * (WEIGHT + GRADIENT + STATE),
        "ZeRO-0": still + trained * (WEIGHT + GRADIENT + STATE),
        "ZeRO-1": still + trained * (WEIGHT + GRADIENT + STATE / workers),
        "ZeRO-2": still + trained * (WEIGHT + (GRADIENT + STATE) / workers),
        "ZeRO-3": still + trained * (WEIGHT + GRADIENT + STATE) / workers,
    }
