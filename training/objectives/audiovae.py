"""AudioVAE stage 1: reconstruct 48 kHz speech through 25 Hz latents (mel, adversarial, features, KL through a flow).

L = 15 mel + adversarial + features + beta KL, by dots.tts section 2.6.1 in the BigVGAN-v2 setting that it names; the
report gives no weights. The discriminator moves first, on a waveform made without gradients.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from infra.manifest import Manifest, ManifestError
from models.audiovae.discriminators import Discriminator, DiscriminatorConfig
from models.audiovae.flow import PosteriorFlow
from models.audiovae.initialize import initialize
from models.audiovae.vae import AudioVAE, Posterior
from models.runtime.bundle import Bundle
from training.data.collate import FRAME, RATE_HZ
from training.data.draw import Draw
from training.losses.adversarial import discriminator_loss, feature_distance, generator_loss
from training.losses.kl import kl_through_flow
from training.losses.mel import mel_distance
from training.manifest import Count, NotNegative
from training.objectives import Batch, Player, Term

PLAYERS = ("discriminator", "generator")
NEEDS_TEXT = False


class SubDiscriminators(Manifest):
    """Sub-discriminators; no hop means no constant-Q one."""

    periods: tuple[Count, ...] = Field(default=(2, 3, 5, 7, 11), min_length=1)
    period_channels: tuple[Count, ...] = Field(default=(32, 128, 512, 1024, 1024), min_length=1)
    cqt_hops: tuple[Count, ...] = (512, 256, 256)
    """Samples at twice the rate of the waveform, where the transform works."""
    cqt_bins: tuple[Count, ...] = (24, 36, 48)
    cqt_octaves: Count = 9
    cqt_channels: Count = 128

    @model_validator(mode="after")
    def hops_have_bins(self) -> "SubDiscriminators":
        """One number of bins a hop."""
        if len(self.cqt_hops) != len(self.cqt_bins):
            raise ValueError(f"cqt_hops {self.cqt_hops} and cqt_bins {self.cqt_bins} must be as many")
        return self


class Flow(Manifest):
    """The flow that the posterior is regularized through."""

    hidden: Count = 256
    kernel: Count = 5
    layers: Count = 4
    couplings: Count = 4


class Config(Manifest):
    """Settings of the objective; the defaults are full size."""

    crop_frames: Count = 240
    """Latent frames of a training crop, 40 ms each; shorter utterances are followed by silence."""
    mel_weight: NotNegative = 15.0
    """Of BigVGAN-v2, which the paper names for the decoder (ours); HoliTok's recipe has 45."""
    adversarial_weight: NotNegative = 1.0
    feature_weight: NotNegative = 1.0
    """On top of the published 2, which is part of the term."""
    kl_weight: NotNegative = 0.1
    kl_ramp_steps: int = Field(default=50_000, ge=0)
    """The KL's weight grows linearly from 0 over so many steps: the latent learns to carry something first."""
    kl_ramp_from: float = Field(default=0.0, ge=0, le=1)
    """Part of the weight that is on at the first step (ours): 0, since a small encoder under a KL carried nothing."""
    kl_form: Literal["sample", "mean"] = "sample"
    """sample: one sample of the expectation, as in KALL-E. mean: biased up, but bounds the deviation
    (training.losses.kl)."""
    adversarial_from_step: int = Field(default=0, ge=0)
    """Before it, the generator learns without the discriminator, and the discriminator not at all."""
    discriminator: SubDiscriminators = SubDiscriminators()
    flow: Flow = Flow()


def least_seconds(cfg: Config) -> float:
    """A clip takes a whole crop of a step, however short it is."""
    return cfg.crop_frames * FRAME / RATE_HZ


@dataclass(frozen=True)
class Crops:
    """What both players see of a batch: the same crops, the same posterior noise."""

    wave_BS: Tensor
    noise_BFD: Tensor


class DiscriminatorPlayer(Player):
    """Learns to tell recorded crops from made ones. The generator is looked at, without gradients."""

    def __init__(self, discriminator: Discriminator, *, vae: AudioVAE, cfg: Config) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.cfg = cfg
        self.looked_at = (vae,)  # a tuple keeps it out of the module tree

    def forward(self, prepared: Any, draw: Draw) -> dict[str, Term]:
        """`adv/discriminator`, counted in crops; before its first step a zero that counts nothing."""
        crops = crops_of(prepared)
        if not adversarial(draw, self.cfg):
            nothing = torch.stack([parameter.sum() for parameter in self.parameters()]).sum() * 0
            return {"adv/discriminator": Term(nothing, torch.zeros(()))}
        with torch.no_grad():
            _, made_BS = self.looked_at[0](crops.wave_BS, crops.noise_BFD)
        found = self.discriminator(torch.cat([crops.wave_BS, made_BS.float()]))
        real, made = zip(*(maps.score.float().chunk(2) for maps in found), strict=True)
        return {"adv/discriminator": per_crop(discriminator_loss(real, made), crops)}

    def counts(self, prepared: Any, draw: Draw) -> dict[str, Tensor]:
        """Crops."""
        return {"adv/discriminator": crop_count(prepared, draw, self.cfg)}


class GeneratorPlayer(Player):
    """The AudioVAE and its flow. The discriminator is looked at, frozen by the loop, as a raw module."""

    def __init__(self, vae: AudioVAE, flow: PosteriorFlow, *, discriminator: Discriminator, cfg: Config) -> None:
        super().__init__()
        self.vae, self.flow = vae, flow
        self.cfg = cfg
        self.looked_at = (discriminator,)

    def forward(self, prepared: Any, draw: Draw) -> dict[str, Term]:
        """Reconstruction terms, counted in crops; `kl/flow` and `posterior/spread` are only looked at."""
        crops = crops_of(prepared)
        posterior = self.vae.encode(crops.wave_BS)
        latent_BFD = posterior.sample(crops.noise_BFD)
        made_BS = self.vae.decode(latent_BFD).float()
        mel = mel_distance(made_BS, crops.wave_BS, rate_hz=self.vae.config.sample_rate)
        flowed_BFD = self.flow(latent_BFD).float()
        kl = kl_through_flow(flowed_BFD, posterior.log_std_BFD.float(), form=self.cfg.kl_form).mean()
        return {
            "mel/l1": per_crop(mel, crops),
            **self.adversarial_terms(made_BS, crops, on=adversarial(draw, self.cfg)),
            "kl/ramped": per_crop(kl * ramp(draw, self.cfg), crops),
            "kl/flow": per_crop(kl.detach(), crops),
            "posterior/spread": per_crop(spread(posterior), crops),
        }

    def counts(self, prepared: Any, draw: Draw) -> dict[str, Tensor]:
        """Crops."""
        every, seen = crop_count(prepared), crop_count(prepared, draw, self.cfg)
        return {"mel/l1": every, "kl/ramped": every, "adv/generator": seen, "adv/feature": seen}

    def adversarial_terms(self, made_BS: Tensor, crops: Crops, *, on: bool) -> dict[str, Term]:
        """What the discriminator makes of the generator's waveform; zeros that count nothing where it is not on."""
        if not on:
            return {name: Term(made_BS.new_zeros(()), torch.zeros(())) for name in ("adv/generator", "adv/feature")}
        discriminator = self.looked_at[0]
        with torch.no_grad():
            real = [maps.features for maps in discriminator(crops.wave_BS)]
        made = discriminator(made_BS)
        return {
            "adv/generator": per_crop(generator_loss([maps.score.float() for maps in made]), crops),
            "adv/feature": per_crop(feature_distance(real, [maps.features for maps in made]), crops),
        }


class Objective:
    """Stage 1. Takes a bundle, new or trained; makes one with an AudioVAE, its latent statistics and training parts."""

    def __init__(self, cfg: Config, bundle: Bundle, *, seed: int) -> None:
        self.notes: tuple[str, ...] = ()
        """What a person should know of this run."""
        if bundle.backbone is not None:
            self.notes = ("the backbone of this bundle speaks the latents that its AudioVAE had, and is left out",)
            bundle = replace(bundle, backbone=None, config=replace(bundle.config, meanflow=None, sampling=None))
        self.cfg, self.bundle = cfg, bundle
        self.vae = bundle.audiovae
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.flow = PosteriorFlow(self.vae.config.latent_dim, **cfg.flow.model_dump())
            settings = cfg.discriminator.model_dump()
            self.discriminator = Discriminator(DiscriminatorConfig(rate_hz=self.vae.config.sample_rate, **settings))
        if bundle.latent_mean_D is None and "flow" not in bundle.training:
            initialize(self.vae, seed=seed)
        for part in ("flow", "discriminator"):
            take(getattr(self, part), bundle.training.get(part), part=part)
        self.vae.requires_grad_(True)
        self.players: Mapping[str, Player] = {
            "discriminator": DiscriminatorPlayer(self.discriminator, vae=self.vae, cfg=cfg),
            "generator": self.generator(),
        }
        self.weights: Mapping[str, Mapping[str, float]] = {
            "discriminator": {"adv/discriminator": 1.0},
            "generator": {
                "mel/l1": cfg.mel_weight,
                "adv/generator": cfg.adversarial_weight,
                "adv/feature": cfg.feature_weight,
                "kl/ramped": cfg.kl_weight,
            },
        }

    def generator(self) -> Player:
        """The player that makes waveforms; stage 2 has another."""
        return GeneratorPlayer(self.vae, self.flow, discriminator=self.discriminator, cfg=self.cfg)

    def prepare(self, batch: Batch, draw: Draw) -> Any:
        """Crops of `crop_frames`, at a place that depends on seed, step and key, and their posterior noise."""
        return self.crops(batch, draw)

    def crops(self, batch: Batch, draw: Draw) -> Crops:
        """See `prepare`."""
        hop, frames, width = self.vae.config.hop, self.cfg.crop_frames, self.vae.config.latent_dim
        where_B = draw.uniform("audiovae/crop")
        wave_BS = batch.wave_BS.new_zeros(len(batch.keys), frames * hop)
        for number, wave_S in enumerate(batch.wave_BS):
            own = int(batch.length_B[number])
            start = int(where_B[number] * (max(0, own // hop - frames) + 1)) * hop
            piece_S = wave_S[start : min(own, start + frames * hop)]
            wave_BS[number, : len(piece_S)] = piece_S
        return Crops(wave_BS, draw.normal("audiovae/posterior", (frames, width)).to(wave_BS.device))

    def samples(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """Recorded waveforms and what the AudioVAE makes of them, to listen to."""
        heard: dict[str, Tensor] = {}
        for number, key in enumerate(batch.keys):
            wave_S = batch.wave_BS[number, : int(batch.length_B[number])].to(next(self.vae.parameters()).device)
            heard[f"{key}-recorded"] = wave_S
            heard[f"{key}-made"] = self.vae.decode(self.vae.encode(wave_S.unsqueeze(0)).mean_BFD).squeeze(0)
        return heard

    def finish(self, batches: Iterable[Batch]) -> Bundle:
        """The bundle on the CPU, with the mean and variance of sampled latents over `batches`."""
        self.vae.eval()
        self.bundle.latent_mean_D, self.bundle.latent_var_D = latent_statistics(self.vae, batches)
        self.vae.cpu().requires_grad_(False)
        for part in self.parts():
            state = getattr(self, part).state_dict()
            self.bundle.training[part] = {name: tensor.detach().cpu() for name, tensor in state.items()}
        return self.bundle

    def parts(self) -> tuple[str, ...]:
        """What only training needs, and the bundle carries to the next stage."""
        return ("flow", "discriminator")


def crops_of(prepared: Any) -> Crops:
    """The crops of what `prepare` made."""
    crops = prepared if isinstance(prepared, Crops) else prepared.crops
    assert isinstance(crops, Crops)
    return crops


def crop_count(prepared: Any, draw: Draw | None = None, cfg: Config | None = None) -> Tensor:
    """Crops of what `prepare` made; with `draw` and `cfg`, those that the discriminator sees at this step."""
    seen = draw is None or cfg is None or adversarial(draw, cfg)
    return torch.tensor(float(len(crops_of(prepared).wave_BS) if seen else 0))


def per_crop(value: Tensor, crops: Crops) -> Term:
    """A mean over crops, as a total and a count."""
    count = len(crops.wave_BS)
    return Term(value * count, torch.tensor(float(count), device=value.device))


def adversarial(draw: Draw, cfg: Config) -> bool:
    """Is the discriminator part of this step? Always in validation, whose step is negative."""
    return draw.step < 0 or draw.step >= cfg.adversarial_from_step


def ramp(draw: Draw, cfg: Config) -> float:
    """The part of the KL's weight that is on at this step; all of it in validation."""
    grown = 1.0 if draw.step < 0 or not cfg.kl_ramp_steps else min(1.0, draw.step / cfg.kl_ramp_steps)
    return cfg.kl_ramp_from + (1 - cfg.kl_ramp_from) * grown


@torch.no_grad()
def spread(posterior: Posterior) -> Tensor:
    """Deviation of the means over time, over the posterior's own: near 0 when the posterior has collapsed."""
    moves = posterior.mean_BFD.float().std(dim=1, correction=0).mean()
    return moves / posterior.log_std_BFD.float().exp().mean()


def take(module: torch.nn.Module, state: Mapping[str, Tensor] | None, *, part: str) -> None:
    """Load a training part of the stage before, where there is one.

    Raises: ManifestError when it was made with other settings.
    """
    if state is None:
        return
    own = module.state_dict()
    wrong = sorted(set(own) ^ set(state)) + [n for n in own if n in state and own[n].shape != state[n].shape]
    if wrong:
        raise ManifestError(
            "objective",
            [
                f"the {part} of the stage before was made with other settings ({len(wrong)} tensors differ, the "
                f"first is {wrong[0]}): give this stage the settings of that one"
            ],
        )
    module.load_state_dict(dict(state))


@torch.no_grad()
def latent_statistics(vae: AudioVAE, batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
    """Mean and variance, each (D,), of sampled latents over the true frames of `batches`; nothing is drawn.

    A sample's variance is that of the means plus the mean posterior variance.
    Raises: ValueError when there is no audio.
    """
    device = next(vae.parameters()).device
    count, total_D, squares_D = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        posterior = vae.encode(batch.wave_BS.to(device), batch.length_B.to(device))
        for number, length in enumerate((batch.length_B // vae.config.hop).tolist()):
            mean_FD = posterior.mean_BFD[number, :length].double().cpu()
            std_FD = posterior.log_std_BFD[number, :length].double().cpu().exp()
            count += length
            total_D = total_D + mean_FD.sum(0)
            squares_D = squares_D + (mean_FD.square() + std_FD.square()).sum(0)
    if not count:
        raise ValueError("no audio to take the statistics of the latents from")
    mean_D = total_D / count
    return mean_D.float(), (squares_D / count - mean_D.square()).clamp(min=1e-8).float()
