"""MeanFlow: a student of the head learns the teacher's guided mean velocity over intervals (equations 13 to 15)."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from infra.manifest import Manifest
from models.backbone.backbone import Backbone
from models.backbone.config import MeanFlowConfig, ModelConfig, SamplingConfig
from models.backbone.flow import Sampler, Velocity, interpolate, path_velocity
from models.backbone.layout import valid_patches
from models.backbone.meanflow import adaptive_weight, intervals, mean_velocity
from models.runtime.bundle import Bundle, BundleError
from training.data.collate import Utterance
from training.data.draw import Draw
from training.data.prepared import Frontend, placed
from training.losses.flow import count, over_patches, patch_error
from training.objectives import Batch, Player, Term
from training.objectives.backbone import Layouts, kept, on_cpu, refuse_distilled, spoken
from training.objectives.soar import Heard, heard_by

PLAYERS = ("backbone",)
NEEDS_TEXT = True
SHORTEST = 1e-4
"""An interval shorter than this is an anchor: its mean velocity would be 0 / 0."""
POWERS = {"none": 0.0, "sqrt": 0.5, "full": 1.0}
MAX_GRID = 4


class Config(Manifest):
    mode: Literal["fused", "natural"] = "fused"
    """fused: the teacher is guided, the student never drops a condition (paper). natural: both drop conditions alike,
    nothing is guided."""
    guidance: float = Field(default=1.2, ge=0)
    """Guidance in every step of the teacher (fused)."""
    teacher_steps: int = Field(default=16, ge=1)
    """Steps of the teacher over an interval: 16 in the paper; each costs two passes. 8 in the released script."""
    teacher_method: Literal["euler", "midpoint", "rk4_classic"] = "euler"
    time_mean: float = -0.4
    time_std: float = Field(default=1.0, gt=0)
    """Ends of an interval are two logit-normal times (the paper writes log-normal, which would leave [0, 1])."""
    student: Literal["any_steps", "two_steps", "one_step"] = "any_steps"
    """any_steps: told the interval, for 2 to 4 steps (paper). The others are released without their training (ours):
    they learn the way to the data from where their locked sampler asks, time 0 (and that of the angle 1.3), and are
    told no interval; `anchor` and `grid` are then of no use. The streaming student: `layouts: {interleaved: 1}`."""
    anchor: float = Field(default=0.5, ge=0, le=1)
    """Utterances whose interval is empty."""
    anchor_target: Literal["formula", "teacher"] = "formula"
    """formula: x_1 - x_0, unguided (paper and release). teacher: its guided velocity, the limit of short intervals."""
    grid: float = Field(default=0.0, ge=0, le=1)
    """Utterances that take an interval of the samplers with 1 to 4 steps, which are rare otherwise (ours, off)."""
    adaptive: Literal["none", "sqrt", "full"] = "sqrt"
    """Weight (error + epsilon) ** -0.5 a patch (paper, sqrt); the released script has none."""
    epsilon: float = Field(default=1e-3, gt=0)
    """Of that weight (ours): that of the original method's code."""
    hidden_drop: float | None = Field(default=None, ge=0, le=1)
    speaker_drop: float | None = Field(default=None, ge=0, le=1)
    """Drop rates (natural); None: config.json."""
    layouts: Layouts = {"plain": 1.0}
    language_tag: float = Field(default=0.5, ge=0, le=1)


@dataclass(frozen=True)
class Noise:
    """Where on the path each utterance starts, over what interval, from what noise, with which conditions."""

    noise_BFD: Tensor
    start_B: Tensor
    duration_B: Tensor
    """Zero at anchors."""
    keep_hidden_B: Tensor
    keep_speaker_B: Tensor


@dataclass(frozen=True)
class Lesson:
    """A batch with the teacher's answers."""

    heard: Heard
    noise: Noise
    noisy_BFD: Tensor
    target_BFD: Tensor


def targets(
    teacher_for: Callable[[Tensor], Velocity],
    clean_BFD: Tensor,
    noisy_BFD: Tensor,
    noise: Noise,
    *,
    cfg: Config,
    sigma: float = 0.0,
) -> Tensor:
    """What the student should say: the teacher's mean velocity over each interval; at anchors, the velocity itself.

    `teacher_for(rows)` is the teacher for some rows of the batch: only those with an interval are integrated.
    """
    wanted_BFD = path_velocity(noise.noise_BFD, clean_BFD, sigma=sigma)
    anchor_B = noise.duration_B == 0
    with torch.no_grad():
        if cfg.anchor_target == "teacher" and bool(anchor_B.any()):
            wanted_BFD[anchor_B] = teacher_for(anchor_B)(noisy_BFD[anchor_B], noise.start_B[anchor_B], 0)
        if bool(anchor_B.all()):
            return wanted_BFD
        wanted_BFD[~anchor_B] = mean_velocity(
            teacher_for(~anchor_B),
            noisy_BFD[~anchor_B],
            start_B=noise.start_B[~anchor_B],
            duration_B=noise.duration_B[~anchor_B],
            steps=cfg.teacher_steps,
            method=cfg.teacher_method,
        ).to(wanted_BFD.dtype)
    return wanted_BFD


def drawn_intervals(
    first_B: Tensor, second_B: Tensor, anchor_B: Tensor, *, cfg: Config, grid_B3: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Start and duration from two standard normal and one uniform draw; `grid_B3`: three uniform draws for `grid`.

    Students of fixed steps take, with the uniform draw, one of the times that their sampler asks at, and go to the end.
    """
    if cfg.student != "any_steps":
        times_T = torch.tensor(locked_sampler(cfg).times)
        start_B = times_T[(anchor_B * len(times_T)).long()]
        return start_B, 1 - start_B
    start_B, duration_B = intervals(first_B, second_B, mean=cfg.time_mean, std=cfg.time_std)
    if grid_B3 is not None and cfg.grid:
        steps_B = (grid_B3[:, 1] * MAX_GRID).floor() + 1
        on_grid_B = grid_B3[:, 0] < cfg.grid
        start_B = torch.where(on_grid_B, (grid_B3[:, 2] * steps_B).floor() / steps_B, start_B)
        duration_B = torch.where(on_grid_B, 1 / steps_B, duration_B)
    empty_B = (anchor_B < cfg.anchor) | (duration_B < SHORTEST)
    return start_B, duration_B.masked_fill(empty_B, 0.0)


def locked_sampler(cfg: Config) -> Sampler:
    """How a student of fixed steps makes a patch."""
    return Sampler("flow", 1) if cfg.student == "one_step" else Sampler("scm", 2)


def student_config(config: ModelConfig, *, cfg: Config) -> ModelConfig:
    """What config.json says of the student: told intervals, or its sampler locked."""
    if cfg.student == "any_steps":
        return replace(config, meanflow=MeanFlowConfig(enabled=True, use_duration_embedding=True))
    one = cfg.student == "one_step"
    locked = SamplingConfig(solver="flow_matching", num_steps=1) if one else SamplingConfig(solver="scm", num_steps=2)
    return replace(config, meanflow=None, sampling=locked)


class MeanFlowPlayer(Player):
    """The student head; everything else is frozen and stays outside."""

    def __init__(self, backbone: Backbone, cfg: Config) -> None:
        super().__init__()
        self.dit = backbone.velocity_field_predictor
        self.outside = [backbone]  # in a list, so that it is no part of the player
        self.cfg = cfg

    def forward(self, lesson: Lesson, draw: Draw) -> dict[str, Term]:
        """`meanflow/loss` is the weighted error; `interval` and `anchor` are plain errors, only reported."""
        del draw  # the teacher's draws are the student's
        heard, noise = lesson.heard, lesson.noise
        hidden_BPH, speaker_BH = conditions(heard, noise)
        backbone = self.outside[0]
        said_BFD = backbone.velocity(
            hidden_BPH,
            heard.clean_BFD,
            lesson.noisy_BFD,
            time_B=noise.start_B,
            speaker_BH=speaker_BH,
            duration_B=noise.duration_B if backbone.config.duration_embedding else None,
        )
        error_BP = patch_error(said_BFD, lesson.target_BFD, frames=backbone.config.patch_size)
        valid_BP = valid_patches(heard.patches_B, error_BP.shape[1])
        anchor_B1 = noise.duration_B[:, None] == 0
        return {
            "meanflow/loss": over_patches(weighted(error_BP, cfg=self.cfg), valid_BP),
            "meanflow/interval": over_patches(error_BP.detach(), valid_BP & ~anchor_B1),
            "meanflow/anchor": over_patches(error_BP.detach(), valid_BP & anchor_B1),
        }

    def counts(self, lesson: Lesson, draw: Draw) -> dict[str, Tensor]:
        """Real patches."""
        del draw
        heard = lesson.heard
        return {"meanflow/loss": count(valid_patches(heard.patches_B, heard.hidden_BPH.shape[1]))}


def weighted(error: Tensor, *, cfg: Config) -> Tensor:
    """The error with its adaptive weight (equation 15)."""
    power = POWERS[cfg.adaptive]
    return error * adaptive_weight(error, power=power, epsilon=cfg.epsilon) if power else error


def conditions(heard: Heard, noise: Noise) -> tuple[Tensor, Tensor]:
    """Hidden states and voices, without those that are dropped."""
    return (
        heard.hidden_BPH * kept(noise.keep_hidden_B, heard.hidden_BPH),
        heard.speaker_BH * kept(noise.keep_speaker_B, heard.speaker_BH),
    )


def student_of(teacher: Backbone, *, config: ModelConfig, seed: int) -> Backbone:
    """A copy with a duration embedder (where the student is told intervals) whose last layer is zero: at first it says
    what the teacher says, for any interval. Only its head is free to move."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = Backbone(config)
    new = student.load_state_dict(teacher.state_dict(), strict=False).missing_keys
    assert all("duration_embedder" in key for key in new), new
    embedder = student.velocity_field_predictor.duration_embedder
    if embedder is not None:
        nn.init.zeros_(embedder.linears[-1].weight)
    student.requires_grad_(False)
    student.velocity_field_predictor.requires_grad_(True)
    return student


class Objective:
    """One player, `backbone`, of which only the head is trained. The teacher is the head that came in."""

    def __init__(self, cfg: Config, bundle: Bundle, *, seed: int) -> None:
        """Raises: BundleError when the bundle has no backbone, or a distilled one."""
        if bundle.backbone is None:
            raise BundleError("MeanFlow distills a trained backbone, and this bundle has none: give that of soar")
        refuse_distilled(bundle.config, needed="objective meanflow")
        self.cfg = cfg
        self.frontend = Frontend(bundle)
        self.teacher = copy.deepcopy(bundle.backbone.velocity_field_predictor).eval().requires_grad_(False)
        if cfg.student == "two_steps" and bundle.config.fm_sigma:
            raise BundleError(
                f"a student of two steps learns paths that end in the data, and this bundle has fm_sigma "
                f"{bundle.config.fm_sigma:g}"
            )
        config = student_config(bundle.config, cfg=cfg)
        self.backbone = student_of(bundle.backbone, config=config, seed=seed)
        self.bundle = replace(bundle, config=config, backbone=self.backbone)
        self.players: Mapping[str, Player] = {"backbone": MeanFlowPlayer(self.backbone, cfg)}
        self.weights: Mapping[str, Mapping[str, float]] = {"backbone": {"meanflow/loss": 1.0}}

    def hears(self, one: Utterance, draw: Draw) -> bool:
        """Is the sound of an utterance needed? Not where its latents and its voice are known."""
        del draw
        return self.frontend.hears(one, voice=True)

    def prepare(self, batch: Batch, draw: Draw) -> Lesson:
        """Frozen features, and the teacher's answers."""
        prepared = self.frontend.prepare(batch, draw, layouts=self.cfg.layouts, language_tag=self.cfg.language_tag)
        return self.lesson(heard_by(self.backbone, prepared), draw)

    def lesson(self, heard: Heard, draw: Draw) -> Lesson:
        """Draw the intervals and ask the teacher."""
        cfg, config = self.cfg, self.bundle.config
        start_B, duration_B = drawn_intervals(
            draw.normal("interval_first", ()),
            draw.normal("interval_second", ()),
            draw.uniform("anchor"),
            cfg=cfg,
            grid_B3=draw.uniform("grid", (3,)),
        )
        natural = cfg.mode == "natural"
        hidden_drop = config.cfg_droprate if cfg.hidden_drop is None else cfg.hidden_drop
        speaker_drop = config.xvec_drop_rate if cfg.speaker_drop is None else cfg.speaker_drop
        lengths = [n * config.patch_size for n in heard.patches_B.tolist()]
        noise = Noise(
            noise_BFD=draw.normal("flow", heard.clean_BFD.shape[1:], lengths=lengths),
            start_B=start_B,
            duration_B=duration_B,
            keep_hidden_B=draw.uniform("drop_hidden") >= (hidden_drop if natural else 0.0),
            keep_speaker_B=draw.uniform("drop_speaker") >= (speaker_drop if natural else 0.0),
        )
        return self.taught(heard, placed(noise, heard.clean_BFD.device))

    @torch.no_grad()
    def taught(self, heard: Heard, noise: Noise) -> Lesson:
        """The teacher's answers for given draws, in float32 in any case: errors of its steps add up."""
        noisy_BFD = interpolate(noise.noise_BFD, heard.clean_BFD, time=noise.start_B, sigma=self.bundle.config.fm_sigma)
        hidden_BPH, speaker_BH = conditions(heard, noise)

        def teacher_for(rows_B: Tensor) -> Velocity:
            def velocity(state_NFD: Tensor, time: Tensor | float, number: int) -> Tensor:
                assert isinstance(time, Tensor)
                return self.backbone.guided_velocity(
                    hidden_BPH[rows_B],
                    heard.clean_BFD[rows_B],
                    state_NFD,
                    time_B=time,
                    speaker_BH=speaker_BH[rows_B],
                    guidance=self.cfg.guidance if self.cfg.mode == "fused" else 0.0,
                    dit=self.teacher,
                )

            return velocity

        sigma = self.bundle.config.fm_sigma
        with torch.autocast(noisy_BFD.device.type, enabled=False):
            target_BFD = targets(teacher_for, heard.clean_BFD, noisy_BFD, noise, cfg=self.cfg, sigma=sigma)
        return Lesson(heard, noise, noisy_BFD, target_BFD)

    def samples(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """The texts of a batch, spoken as the networks are now."""
        return spoken(self.bundle, batch, draw)

    def finish(self, batches: Iterable[Batch]) -> Bundle:
        """The bundle with the student; its configuration says how it is to be sampled."""
        del batches
        return on_cpu(self.bundle)
