"""The backbone: flow matching over all patches at once, and the balanced stop loss. Stages 1 to 3."""

import copy
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from infra.manifest import Manifest
from models.backbone.backbone import Backbone
from models.backbone.config import ModelConfig
from models.backbone.flow import interpolate, path_velocity
from models.backbone.llm import load_pretrained
from models.runtime.bundle import Bundle, BundleError
from models.text.tokens import Layout
from training.data.collate import Utterance
from training.data.draw import Draw
from training.data.prepared import Frontend, Prepared, placed
from training.losses.flow import count, over_patches, patch_error
from training.losses.stop import stop_count, stop_loss
from training.manifest import NotNegative
from training.objectives import Batch, Player, Term
from training.recompute import blocks_of

PLAYERS = ("backbone",)
NEEDS_TEXT = True
ZERO_LIMIT = 3
SEMANTIC_ENCODER = "semantic_encoder"
"""Part of a bundle's `training` that a new backbone starts its semantic encoder from."""
Rate = float | None
Network = TypeVar("Network", bound=nn.Module)


def some_layout(layouts: dict[Layout, float]) -> dict[Layout, float]:
    """At least one share above zero, and none below."""
    if min(layouts.values(), default=-1.0) < 0 or not 0 < sum(layouts.values()) < math.inf:
        raise ValueError(f"shares must be at least 0 and not all 0, but are {layouts}")
    return layouts


Layouts = Annotated[dict[Layout, float], AfterValidator(some_layout)]


class Config(Manifest):
    freeze: tuple[Literal["llm"], ...] = ()
    """What keeps its weights: stage 1 aligns everything else with a frozen LLM."""
    layouts: Layouts = {"plain": 1.0}
    """Share of the utterances that are laid out with the text first, and with text and patches alternating (1T1A)."""
    hidden_drop: Rate = Field(default=None, ge=0, le=1)
    """Utterances that lose the LLM's hidden states, so that guidance has an unconditional branch; None: config.json."""
    speaker_drop: Rate = Field(default=None, ge=0, le=1)
    """Utterances that lose the x-vector; None: config.json. The paper says 0.5 for both."""
    language_tag: float = Field(default=0.5, ge=0, le=1)
    """Utterances whose text begins with its language, so that a tag is understood and not needed (our choice)."""
    llm_init: Path | None = None
    """A local Qwen2 directory to start the LLM of a new backbone from."""
    weights: dict[Literal["flow/velocity", "stop/bce"], NotNegative] = Field(
        default={"flow/velocity": 1.0, "stop/bce": 1.0}, min_length=1
    )


@dataclass(frozen=True)
class Noise:
    """Every random number of the flow loss. Without `keep`, no condition is dropped."""

    noise_BFD: Tensor
    time_B: Tensor
    """One flow time an utterance: as at inference, all patches of a history share it."""
    keep_hidden_B: Tensor
    keep_speaker_B: Tensor

    @classmethod
    def drawn(cls, draw: Draw, like: Prepared, *, hidden_drop: float, speaker_drop: float) -> "Noise":
        """The noise of a micro-batch. Conditions are dropped an utterance at a time, one independent of the other."""
        frames = like.clean_BFD.shape[1]
        per_patch = frames // like.longest
        found = cls(
            noise_BFD=draw.normal(
                "flow", like.clean_BFD.shape[1:], lengths=[n * per_patch for n in like.patches_B.tolist()]
            ),
            time_B=draw.uniform("time"),
            keep_hidden_B=draw.uniform("drop_hidden") >= hidden_drop,
            keep_speaker_B=keeps_speaker(draw, drop=speaker_drop),
        )
        return placed(found, like.clean_BFD.device)


def keeps_speaker(draw: Draw, *, drop: float) -> Tensor:
    """True for utterances that keep their voice: (B,)."""
    return draw.uniform("drop_speaker") >= drop


class BackbonePlayer(Player):
    """The backbone with its losses."""

    def __init__(self, backbone: Backbone, *, hidden_drop: float, speaker_drop: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.hidden_drop, self.speaker_drop = hidden_drop, speaker_drop

    def forward(self, prepared: Prepared, draw: Draw) -> dict[str, Term]:
        """See `terms`."""
        noise = Noise.drawn(draw, prepared, hidden_drop=self.hidden_drop, speaker_drop=self.speaker_drop)
        return self.terms(prepared, noise)

    def counts(self, prepared: Prepared, draw: Draw) -> dict[str, Tensor]:
        """Real patches, and utterances."""
        del draw
        return {
            "flow/velocity": count(prepared.valid),
            "stop/bce": stop_count(prepared.patches_B, prepared.longest),
        }

    def terms(self, prepared: Prepared, noise: Noise) -> dict[str, Term]:
        """Flow-matching error over patches (equation 3) and stop loss over utterances (equation 4)."""
        backbone, config = self.backbone, self.backbone.config
        hidden_BPH = prepared.hidden(backbone)
        speaker_BH = backbone.speaker(prepared.xvector_BE)
        said_BFD = backbone.velocity(
            hidden_BPH * kept(noise.keep_hidden_B, hidden_BPH),
            prepared.clean_BFD,
            interpolate(noise.noise_BFD, prepared.clean_BFD, time=noise.time_B, sigma=config.fm_sigma),
            time_B=noise.time_B,
            speaker_BH=speaker_BH * kept(noise.keep_speaker_B, speaker_BH),
        )
        wanted_BFD = path_velocity(noise.noise_BFD, prepared.clean_BFD, sigma=config.fm_sigma)
        error_BP = patch_error(said_BFD, wanted_BFD, frames=config.patch_size)
        return {
            "flow/velocity": over_patches(error_BP, prepared.valid),
            "stop/bce": stop_loss(backbone.stop_logits(hidden_BPH), prepared.patches_B),
        }


def refuse_distilled(config: ModelConfig, *, needed: str) -> None:
    """Raises: BundleError where a bundle's head says mean velocities, or its sampler is locked to one or two steps:
    trained on as a velocity it would be lost, and speak no better."""
    told = ""
    if config.mean_velocity:
        told = "MeanFlow distilled this bundle"
    elif config.sampling is not None:
        told = f"this bundle is a student of {config.sampling.num_steps} fixed step(s) ({config.sampling.solver})"
    if told:
        raise BundleError(f"{needed} needs instantaneous velocities, and {told}: give the one that it was made from")


def kept(keep_B: Tensor, like: Tensor) -> Tensor:
    """1 for utterances that keep a condition, 0 for others, shaped to multiply it."""
    return keep_B.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


def new_backbone(bundle: Bundle, *, seed: int, llm_init: Path | None = None) -> Backbone:
    """A backbone with seeded random weights, its semantic encoder from the bundle where that has been trained.

    Raises: BundleError when the trained semantic encoder has another shape; ValueError for an unfit `llm_init`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = Backbone(bundle.config)
    if llm_init is not None:
        load_pretrained(backbone.llm, llm_init)
    trained = bundle.training.get(SEMANTIC_ENCODER)
    if trained is None and bundle.latent_mean_D is not None and bundle.latent_var_D is not None:
        backbone.patch_encoder.expect(bundle.latent_mean_D, bundle.latent_var_D)
    if trained is not None:
        own = backbone.patch_encoder.state_dict()
        fits = {key: value for key, value in trained.items() if key in own and own[key].shape == value.shape}
        if wrong := sorted(key for key in own if key not in fits and not key.startswith("out_proj")):
            raise BundleError(f"the trained semantic encoder does not fit PatchEncoder: {', '.join(wrong[:5])}")
        backbone.patch_encoder.load_state_dict({**own, **fits})
    return backbone


class Objective:
    """One player, `backbone`. Frozen: AudioVAE, CAM++, and what `freeze` names."""

    def __init__(self, cfg: Config, bundle: Bundle, *, seed: int) -> None:
        """Raises: BundleError when the bundle cannot be built on."""
        refuse_distilled(bundle.config, needed="objective backbone")
        self.cfg = cfg
        self.frontend = Frontend(bundle)
        rates = replace(
            bundle.config,
            cfg_droprate=bundle.config.cfg_droprate if cfg.hidden_drop is None else cfg.hidden_drop,
            xvec_drop_rate=bundle.config.xvec_drop_rate if cfg.speaker_drop is None else cfg.speaker_drop,
        )
        self.bundle = replace(bundle, config=rates)
        backbone = self.bundle.backbone or new_backbone(self.bundle, seed=seed, llm_init=cfg.llm_init)
        self.bundle.backbone = backbone.requires_grad_(True)
        for name in cfg.freeze:
            getattr(backbone, name).requires_grad_(False)
        player = BackbonePlayer(backbone, hidden_drop=rates.cfg_droprate, speaker_drop=rates.xvec_drop_rate)
        self.players: Mapping[str, Player] = {"backbone": player}
        self.weights: Mapping[str, Mapping[str, float]] = {
            "backbone": {str(name): weight for name, weight in cfg.weights.items()}
        }

    def prepare(self, batch: Batch, draw: Draw) -> Prepared:
        """See `Frontend.prepare`."""
        return self.frontend.prepare(
            batch,
            draw,
            layouts=self.cfg.layouts,
            language_tag=self.cfg.language_tag,
            keep_speaker_B=keeps_speaker(draw, drop=self.bundle.config.xvec_drop_rate),
        )

    def hears(self, one: Utterance, draw: Draw) -> bool:
        """Is the sound of an utterance needed? Not where its latents are known, and its voice too, or dropped."""
        return self.frontend.hears(one, voice=bool(keeps_speaker(draw, drop=self.bundle.config.xvec_drop_rate)))

    def samples(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """The texts of a batch, spoken as the networks are now."""
        return spoken(self.bundle, batch, draw)

    def finish(self, batches: Iterable[Batch]) -> Bundle:
        """The bundle with the trained backbone."""
        del batches  # nothing here depends on statistics of the data
        return on_cpu(self.bundle)


def on_cpu(bundle: Bundle) -> Bundle:
    """The bundle, in evaluation mode on the CPU, every parameter free to be trained again."""
    for network in (bundle.audiovae, bundle.speaker, bundle.backbone):
        if network is not None:
            network.cpu().eval().requires_grad_(True)
    return bundle


def copy_on_cpu(network: Network) -> Network:
    """A copy on the CPU that takes no memory of a GPU. Its Transformer blocks run as they are written: what is compiled
    goes on with the weights that it was compiled for."""
    on_cpu: dict[int, Tensor] = {
        id(part): nn.Parameter(part.detach().to("cpu", copy=True), requires_grad=False) for part in network.parameters()
    }
    on_cpu |= {id(part): part.detach().to("cpu", copy=True) for part in network.buffers()}
    made = copy.deepcopy(network, dict(on_cpu))
    for block in blocks_of([made]):
        vars(block).pop("forward", None)
    return made


def spoken(bundle: Bundle, batch: Batch, draw: Draw, *, seconds: float = 4.0) -> dict[str, Tensor]:
    """Each text in the voice of its own recording, at most `seconds` long; on a GPU, from a copy on the CPU.

    A recording without a voice in it (silent, too short) is left out.
    """
    from models.runtime.generate import generate
    from models.runtime.prompt import RequestError

    assert bundle.backbone is not None
    if bundle.backbone.device.type != "cpu":
        audiovae, speaker = copy_on_cpu(bundle.audiovae), copy_on_cpu(bundle.speaker)
        bundle = replace(bundle, audiovae=audiovae, speaker=speaker, backbone=copy_on_cpu(bundle.backbone))
    rate_hz, limit = bundle.config.audiovae.sample_rate, round(seconds * bundle.config.patches_per_second)
    found = {}
    for number, (key, text) in enumerate(zip(batch.keys, batch.texts, strict=True)):
        wave_S = batch.wave_BS[number, : int(batch.length_B[number])].cpu().numpy()
        with suppress(RequestError):
            speech = generate(
                bundle,
                text,
                prompt_audio=(wave_S, rate_hz),
                template=batch.template(number),
                max_patches=limit,
                seed=draw.seed,
            )
            found[key[:12]] = speech.wave_S
    return found
