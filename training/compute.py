"""Operations of a stage, counted before it starts: forward and backward of its networks, without weights or data."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from infra.cluster import ClusterManifest
from models.audiovae.discriminators import BandDiscriminator, Discriminator, Maps
from models.audiovae.vae import AudioVAE
from models.backbone.backbone import Backbone
from training.data.collate import PATCH, RATE_HZ, seconds_of_patches
from training.objectives import audiovae, audiovae_semantic, meanflow, soar
from training.speed import counter

if TYPE_CHECKING:
    from training.manifest import StageManifest

CLIP_SECONDS = 8.0
"""Length of the utterance that is counted (or max_clip_seconds): the mean of read and spoken corpora."""
TOKENS_PER_SECOND = 4.0
"""Of text, as Qwen's tokenizer makes them of speech."""
TEMPLATE_TOKENS = 10
"""What stands around the text, about."""
EVALUATIONS = {"euler": 1, "midpoint": 2, "rk4_classic": 4}
"""Of the teacher, in one of its steps."""


@dataclass(frozen=True)
class Compute:
    """What training on one second of audio takes."""

    per_second: float
    """Operations of matrix products, convolutions and attention, padding and optimizer not included."""
    told: str
    """What was counted, and what was not."""


def compute(manifest: "StageManifest", networks: Mapping[str, nn.Module]) -> Compute:
    """Count one clip through the networks of an objective, which are on the meta device: nothing is computed.

    `networks`: `audiovae` and `backbone`, or `audiovae`, `flow` and `discriminator`.
    """
    vae, backbone = networks["audiovae"], networks.get("backbone")
    assert isinstance(vae, AudioVAE)
    if isinstance(backbone, Backbone):
        seconds = min(CLIP_SECONDS, manifest.data.max_clip_seconds)
        patches = max(1, round(seconds * RATE_HZ / PATCH))
        text = round(seconds * TOKENS_PER_SECOND) + TEMPLATE_TOKENS
        total = of_backbone(manifest, backbone, patches=patches, text=text)
        total += counted(lambda: without_gradient(vae.encode, empty(1, patches * PATCH)))
        told = f"clips of {seconds:g} s with {text} tokens of text, none with stored latents; without CAM++"
        seconds = seconds_of_patches(patches)
    else:
        cfg, discriminator, flow = manifest.objective.settings, networks["discriminator"], networks["flow"]
        assert isinstance(cfg, audiovae.Config)
        assert isinstance(discriminator, Discriminator)
        total = of_audiovae(vae, flow, discriminator, frames=cfg.crop_frames)
        seconds = cfg.crop_frames * vae.config.hop / RATE_HZ
        told = f"crops of {seconds:g} s; without mel and constant-Q transforms"
        told += ", WavLM and the multitask block" * isinstance(cfg, audiovae_semantic.Config)
    told += ", what is computed again for the gradient" * manifest.engine.activation_checkpointing
    return Compute(total / seconds, f"{told}, padding and the optimizer")


def of_backbone(manifest: "StageManifest", backbone: Backbone, *, patches: int, text: int) -> float:
    """Operations of one utterance in the backbone's stages; the head attends over all pairs, as it does on a GPU."""
    cfg = manifest.objective.settings
    head_only = isinstance(cfg, soar.Config | meanflow.Config)
    backbone.requires_grad_(not head_only)
    backbone.velocity_field_predictor.requires_grad_(True)
    if "llm" in getattr(cfg, "freeze", ()):
        backbone.llm.requires_grad_(False)

    def heard() -> Tensor:
        return hidden(backbone, patches=patches, text=text)

    def say() -> Tensor:
        return velocity(backbone, patches=patches)

    learned = counted_back(say)
    if not head_only:
        return learned + counted_back(heard)
    assert isinstance(cfg, soar.Config | meanflow.Config)
    frozen, once = counted(lambda: without_gradient(heard)), counted(lambda: without_gradient(say))
    guided = once * (2 if cfg.guidance else 1)
    if isinstance(cfg, soar.Config):
        return frozen + guided + (1 + cfg.states) * learned
    told = guided if cfg.mode == "fused" else once
    anchors = cfg.anchor if cfg.student == "any_steps" else 0.0
    asked = (1 - anchors) * cfg.teacher_steps * EVALUATIONS[cfg.teacher_method]
    return frozen + learned + told * (asked + anchors * (cfg.anchor_target == "teacher"))


def hidden(backbone: Backbone, *, patches: int, text: int) -> Tensor:
    """Semantic encoder, LLM and stop head on one utterance: (1, P + T, H)."""
    config, length = backbone.config, patches + text
    spoken_1PH = backbone.patch_encoder(empty(1, patches * config.patch_size, config.latent_dim))
    embedding_1LH = torch.cat([spoken_1PH, empty(1, text, config.hidden_size)], dim=1)
    out_1LH: Tensor = backbone.llm.model(
        inputs_embeds=embedding_1LH,
        position_ids=torch.arange(length, device="meta")[None],
        attention_mask={"full_attention": empty(1, 1, length, length).bool()},  # made here, it would look at values
        use_cache=False,
    ).last_hidden_state
    return out_1LH + backbone.stop_logits(out_1LH[:, :patches]).sum()


def velocity(backbone: Backbone, *, patches: int) -> Tensor:
    """The head over [C|Z] of one utterance: (1, 2 * P * (K + 1), D)."""
    config, dit = backbone.config, backbone.velocity_field_predictor
    frame_1FD = empty(1, patches * config.patch_size, config.latent_dim)
    head_1PH = backbone.hidden_proj(empty(1, patches, config.hidden_size))
    half = [head_1PH, backbone.latent_proj(frame_1FD), head_1PH, backbone.coordinate_proj(frame_1FD)]
    token_1LH = torch.cat(half, dim=1)
    length = token_1LH.shape[1]
    modulation = dit.modulation(empty(1), speaker_BH=backbone.speaker(empty(1, config.campplus_embedding_size)))
    rotary = dit.rotary(torch.arange(length, device="meta"))
    out_1LD: Tensor = dit(token_1LH, rotary=rotary, mask=empty(length, length).bool(), modulation=modulation)
    return out_1LD


def of_audiovae(vae: AudioVAE, flow: nn.Module, discriminator: Discriminator, *, frames: int) -> float:
    """Operations of both players on one crop."""
    samples = frames * vae.config.hop

    def made() -> Tensor:
        latent_1FD = vae.encode(empty(1, samples)).sample(empty(1, frames, vae.config.latent_dim))
        return torch.stack([vae.decode(latent_1FD).sum(), flow(latent_1FD).sum()])

    def scored(wave_BS: Tensor) -> Tensor:
        return torch.stack([one.score.sum() for one in maps_of(discriminator, wave_BS)]).sum()

    discriminator.requires_grad_(True)
    moves = counted(lambda: without_gradient(vae, empty(1, samples), empty(1, frames, vae.config.latent_dim)))
    moves += counted_back(lambda: scored(empty(2, samples)))
    discriminator.requires_grad_(False)
    moves += counted_back(made)
    moves += counted(lambda: without_gradient(scored, empty(1, samples)))
    return moves + counted_back(lambda: scored(empty(1, samples).requires_grad_()))


def maps_of(discriminator: Discriminator, wave_BS: Tensor) -> Iterator[Maps]:
    """Of a discriminator whose constant-Q transforms are not computed."""
    for by_period in discriminator.by_period:
        yield by_period(wave_BS)
    for by_band in discriminator.by_band:
        assert isinstance(by_band, BandDiscriminator)
        width = by_band.octaves * by_band.bins
        spectrum = empty(len(wave_BS), 2, 2 * wave_BS.shape[1] // by_band.hop + 1, width)
        yield by_band.of_spectrum(spectrum.requires_grad_(wave_BS.requires_grad))


def empty(*shape: int) -> Tensor:
    """A tensor without values."""
    return torch.empty(shape, device="meta")


def without_gradient(call: Callable[..., object], *words: Tensor) -> None:
    """Forward alone."""
    with torch.no_grad():
        call(*words)


def counted_back(call: Callable[[], Tensor]) -> float:
    """Operations of a call and of the gradient of what it returns."""
    return counted(lambda: torch.autograd.backward(call().sum()))


def counted(call: Callable[[], object]) -> float:
    """Operations of a call."""
    counting = counter()
    with counting:
        call()
    assert not counting.missed, counting.missed
    return float(counting.get_total_flops())


def lines(manifest: "StageManifest", found: Compute, *, cluster: ClusterManifest, named: str) -> Iterator[str]:
    """What the operations of a whole stage come to on a cluster, whose manifest is `named`."""
    total = found.per_second * manifest.data.seconds_per_step * manifest.steps
    yield f"compute     {total:.2e} operations (counted of {found.told})"
    if cluster.worker_tflops is None:
        yield f"time        not known: set worker_tflops in {named}, and price_per_worker_hour for the cost"
        return
    hours = total / (cluster.worker_tflops * 1e12) / 3600
    workers = f"{manifest.workers} worker{'s' * (manifest.workers > 1)}"
    wall = spell(hours / manifest.workers)
    yield f"time        {wall} on {workers} at {cluster.worker_tflops:g} TFLOP/s each, {hours:,.2f} worker-hours"
    if cluster.price_per_worker_hour is None:
        yield f"cost        not known: set price_per_worker_hour in {named}"
        return
    price = cluster.price_per_worker_hour
    yield f"cost        {hours * price:,.2f} at {price:g} a worker-hour"


def spell(hours: float) -> str:
    """A duration in the unit that suits it."""
    if hours >= 48:
        return f"{hours / 24:,.1f} days"
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 3600:.3g} s"
