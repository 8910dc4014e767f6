"""SOAR: the head learns to come back from where its own guided steps lead (paper, equations 7 to 12).

From a state on the path, one guided step without gradient gives a state off it; that state, mixed with the same noise,
is where K auxiliary velocities are taught to point at the data again. Loss: (on + weight * auxiliary) over the number
of patches of both, so with K = 6 the auxiliary states carry six sevenths of it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from infra.manifest import Manifest
from models.backbone.backbone import Backbone
from models.backbone.flow import interpolate, path_velocity, wide
from models.backbone.layout import valid_patches
from models.runtime.bundle import Bundle, BundleError
from training.data.collate import Utterance
from training.data.draw import Draw
from training.data.prepared import Frontend, Prepared, placed
from training.losses.flow import count, over_patches, patch_error
from training.objectives import Batch, Player, Term
from training.objectives.backbone import Layouts, kept, on_cpu, refuse_distilled, spoken

PLAYERS = ("backbone",)
NEEDS_TEXT = True


class Config(Manifest):
    """What the paper leaves open is marked (ours), with the reason."""

    step: float = Field(default=0.1, ge=0, le=1)
    """Length of the rollout step (ours): one of the ten Euler steps of inference."""
    guidance: float = Field(default=1.2, ge=0)
    """Guidance of the rollout, as at inference."""
    states: int = Field(default=6, ge=1)
    """Auxiliary states an utterance."""
    weight: float = Field(default=1.0, ge=0)
    """Weight of an auxiliary patch against one on the path."""
    time_mean: float = 0.0
    time_std: float = Field(default=1.0, ge=0)
    """Flow times are logit-normal (paper); mean and deviation are ours, those of the method's own code."""
    epsilon: float = Field(default=1e-4, ge=0)
    """Keeps the target finite at the end of the path (ours)."""
    min_remaining: float = Field(default=0.02, ge=0)
    """Auxiliary states nearer to the data than this are left out (ours): 0.03 % of them, whose targets would have
    infinite variance."""
    condition_drop: float = Field(default=0.0, ge=0, le=1)
    """Utterances that lose their conditions on the path. 0 is the paper's letter; 0.1 keeps the unconditional branch,
    which guidance needs, from drifting in a long run."""
    layouts: Layouts = {"plain": 1.0}
    language_tag: float = Field(default=0.5, ge=0, le=1)


@dataclass(frozen=True)
class Heard:
    """What the frozen parts make of a batch, once a step."""

    hidden_BPH: Tensor
    clean_BFD: Tensor
    speaker_BH: Tensor
    patches_B: Tensor


@dataclass(frozen=True)
class Noise:
    """Every random number of the loss."""

    noise_BFD: Tensor
    time_B: Tensor
    alpha_BK: Tensor
    """How far each auxiliary state is mixed back towards the noise."""
    keep_B: Tensor


class Auxiliary(NamedTuple):
    """Auxiliary states, rows grouped by utterance: B * K of them."""

    state_NFD: Tensor
    time_N: Tensor
    target_NFD: Tensor
    counts_N: Tensor
    """False where too near to the data."""


def rolled_out(state_BFD: Tensor, velocity_BFD: Tensor, *, time_B: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """One Euler step, not past the data (equation 8): the state, and the time that it reached."""
    reached_B = (time_B + step).clamp(max=1.0)
    return state_BFD + wide(reached_B - time_B, state_BFD) * velocity_BFD, reached_B


def auxiliary_states(
    rolled_BFD: Tensor,
    noise_BFD: Tensor,
    clean_BFD: Tensor,
    *,
    reached_B: Tensor,
    alpha_BK: Tensor,
    epsilon: float,
    min_remaining: float = 0.0,
) -> Auxiliary:
    """Mix the rolled-out state with the noise it came from, and aim at the data from there (equations 9 to 11)."""
    K = alpha_BK.shape[1]
    alpha_N = alpha_BK.reshape(-1)
    time_N = mixed_time(reached_B, alpha_BK)
    alpha = wide(alpha_N, rolled_BFD)
    state_NFD = (1 - alpha) * rolled_BFD.repeat_interleave(K, 0) + alpha * noise_BFD.repeat_interleave(K, 0)
    rest = wide(1 - time_N + epsilon, rolled_BFD)
    target_NFD = (clean_BFD.repeat_interleave(K, 0) - state_NFD) / rest
    return Auxiliary(state_NFD.detach(), time_N, target_NFD.detach(), far_enough(time_N, min_remaining))


def mixed_time(reached_B: Tensor, alpha_BK: Tensor) -> Tensor:
    """Times of the auxiliary states: (B,), (B, K) -> (B * K,)."""
    return (1 - alpha_BK.reshape(-1)) * reached_B.repeat_interleave(alpha_BK.shape[1])


def far_enough(time_N: Tensor, min_remaining: float) -> Tensor:
    """True for auxiliary states that are not too near to the data."""
    return 1 - time_N >= min_remaining


Say = Callable[[Tensor, Tensor, int], Tensor]
"""Velocity at states (N, F, D) and times (N,), each utterance repeated so many times in a row."""


def soar_errors(
    say: Say,
    say_guided: Callable[[Tensor, Tensor], Tensor],
    clean_BFD: Tensor,
    noise: Noise,
    *,
    cfg: Config,
    frames: int,
    say_on: Say | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Errors a patch on the path and off it, and which auxiliary states count: (B, P), (B * K, P), (B * K,).

    `say_guided` gets no gradient. `say_on` speaks on the path instead of `say` (dropped conditions).
    """
    state_BFD = interpolate(noise.noise_BFD, clean_BFD, time=noise.time_B)
    on_BFD = (say_on or say)(state_BFD, noise.time_B, 1)
    on_BP = patch_error(on_BFD, path_velocity(noise.noise_BFD, clean_BFD), frames=frames)
    with torch.no_grad():
        rolled_BFD, reached_B = rolled_out(
            state_BFD, say_guided(state_BFD, noise.time_B), time_B=noise.time_B, step=cfg.step
        )
        aux = auxiliary_states(
            rolled_BFD,
            noise.noise_BFD,
            clean_BFD,
            reached_B=reached_B,
            alpha_BK=noise.alpha_BK,
            epsilon=cfg.epsilon,
            min_remaining=cfg.min_remaining,
        )
    off_NFD = say(aux.state_NFD, aux.time_N, noise.alpha_BK.shape[1])
    return on_BP, patch_error(off_NFD, aux.target_NFD, frames=frames), aux.counts_N


class SoarPlayer(Player):
    """The head alone; projections, LLM and the rest are frozen and stay outside."""

    def __init__(self, backbone: Backbone, cfg: Config) -> None:
        super().__init__()
        self.dit = backbone.velocity_field_predictor
        self.outside = [backbone]  # in a list, so that it is no part of the player
        self.cfg = cfg

    def forward(self, heard: Heard, draw: Draw) -> dict[str, Term]:
        """See `terms`."""
        lengths = [n * self.outside[0].config.patch_size for n in heard.patches_B.tolist()]
        time_B, alpha_BK = self.times(draw)
        noise = Noise(
            noise_BFD=draw.normal("flow", heard.clean_BFD.shape[1:], lengths=lengths),
            time_B=time_B,
            alpha_BK=alpha_BK,
            keep_B=draw.uniform("drop") >= self.cfg.condition_drop,
        )
        return self.terms(heard, placed(noise, heard.clean_BFD.device))

    def times(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """The flow time of each utterance, and how far its auxiliary states are mixed back: (B,), (B, K)."""
        time_B = torch.sigmoid(self.cfg.time_mean + self.cfg.time_std * draw.normal("time", ()))
        return time_B, draw.uniform("alpha", (self.cfg.states,))

    def counts(self, heard: Heard, draw: Draw) -> dict[str, Tensor]:
        """Real patches on the path, and those of auxiliary states by their weight."""
        device, K = heard.patches_B.device, self.cfg.states
        time_B, alpha_BK = (drawn.to(device) for drawn in self.times(draw))
        aux_N = mixed_time((time_B + self.cfg.step).clamp(max=1.0), alpha_BK)
        valid_BP = valid_patches(heard.patches_B, heard.hidden_BPH.shape[1])
        off = count(valid_BP.repeat_interleave(K, 0) & far_enough(aux_N, self.cfg.min_remaining)[:, None])
        return {"flow/soar": count(valid_BP) + self.cfg.weight * off}

    def terms(self, heard: Heard, noise: Noise) -> dict[str, Term]:
        """`flow/soar` is the loss (equation 12); `flow/on` and `flow/auxiliary` are its parts, only reported."""
        cfg, K = self.cfg, noise.alpha_BK.shape[1]
        on_BP, off_NP, counts_N = soar_errors(
            lambda state, time, repeat: self.say(heard, state, time, repeat=repeat),
            lambda state, time: self.outside[0].guided_velocity(
                heard.hidden_BPH,
                heard.clean_BFD,
                state,
                time_B=time,
                speaker_BH=heard.speaker_BH,
                guidance=cfg.guidance,
            ),
            heard.clean_BFD,
            noise,
            cfg=cfg,
            frames=self.outside[0].config.patch_size,
            say_on=lambda state, time, repeat: self.say(heard, state, time, repeat=repeat, keep_B=noise.keep_B),
        )
        valid_BP = valid_patches(heard.patches_B, heard.hidden_BPH.shape[1])
        on = over_patches(on_BP, valid_BP)
        off = over_patches(off_NP, valid_BP.repeat_interleave(K, 0) & counts_N[:, None])
        both = Term(on.total + cfg.weight * off.total, on.count + cfg.weight * off.count)
        return {"flow/soar": both, "flow/on": detached(on), "flow/auxiliary": detached(off)}

    def say(self, heard: Heard, state: Tensor, time: Tensor, *, repeat: int, keep_B: Tensor | None = None) -> Tensor:
        """Velocity with the conditions of a batch, each row repeated."""
        hidden, speaker = heard.hidden_BPH, heard.speaker_BH
        if keep_B is not None:
            hidden, speaker = hidden * kept(keep_B, hidden), speaker * kept(keep_B, speaker)
        return self.outside[0].velocity(
            hidden.repeat_interleave(repeat, 0),
            heard.clean_BFD.repeat_interleave(repeat, 0),
            state,
            time_B=time,
            speaker_BH=speaker.repeat_interleave(repeat, 0),
        )


def detached(term: Term) -> Term:
    """A term that is only reported."""
    return Term(term.total.detach(), term.count)


def heard_by(backbone: Backbone, prepared: Prepared) -> Heard:
    """Hidden states and voices of a batch, from frozen parts."""
    with torch.no_grad():
        return Heard(
            hidden_BPH=prepared.hidden(backbone),
            clean_BFD=prepared.clean_BFD,
            speaker_BH=backbone.speaker(prepared.xvector_BE),
            patches_B=prepared.patches_B,
        )


class Objective:
    """One player, `backbone`, of which only the head (`velocity_field_predictor`) is trained."""

    def __init__(self, cfg: Config, bundle: Bundle, *, seed: int) -> None:
        """Raises: BundleError when the bundle has no backbone, one that MeanFlow distilled, or another path."""
        del seed  # nothing starts from random weights
        if bundle.backbone is None:
            raise BundleError(
                "SOAR corrects a trained backbone, and this bundle has none: give that of backbone_stage3"
            )
        refuse_distilled(bundle.config, needed="objective soar")
        if bundle.config.fm_sigma:
            raise BundleError(
                f"SOAR's equations are those of paths that end in the data, and this bundle has fm_sigma "
                f"{bundle.config.fm_sigma:g}"
            )
        self.cfg, self.bundle = cfg, bundle
        self.frontend = Frontend(bundle)
        self.backbone = bundle.backbone.requires_grad_(False)
        self.backbone.velocity_field_predictor.requires_grad_(True)
        self.players: Mapping[str, Player] = {"backbone": SoarPlayer(self.backbone, cfg)}
        self.weights: Mapping[str, Mapping[str, float]] = {"backbone": {"flow/soar": 1.0}}

    def hears(self, one: Utterance, draw: Draw) -> bool:
        """Is the sound of an utterance needed? Not where its latents and its voice are known."""
        del draw
        return self.frontend.hears(one, voice=True)

    def prepare(self, batch: Batch, draw: Draw) -> Heard:
        """What the frozen parts make of a batch."""
        prepared = self.frontend.prepare(batch, draw, layouts=self.cfg.layouts, language_tag=self.cfg.language_tag)
        return heard_by(self.backbone, prepared)

    def samples(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """The texts of a batch, spoken as the networks are now."""
        return spoken(self.bundle, batch, draw)

    def finish(self, batches: Iterable[Batch]) -> Bundle:
        """The bundle with the corrected head."""
        del batches
        return on_cpu(self.bundle)
