"""Rules of a stage's manifest that join two fields: what contradicts each other, a sentence each."""

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from infra.manifest import did_you_mean
from training.declared import needs_text, players_of, zero_limit

if TYPE_CHECKING:
    from training.manifest import StageManifest


def contradictions(stage: "StageManifest") -> Iterator[str]:
    """All of them."""
    return chain(of_time(stage), of_engine(stage), of_workers(stage), of_players(stage), of_mixture(stage))


def of_time(stage: "StageManifest") -> Iterator[str]:
    """Steps, rates and lengths of clips."""
    if stage.schedule.warmup_steps >= stage.steps:
        yield f"schedule.warmup_steps ({stage.schedule.warmup_steps}) must be below steps ({stage.steps})"
    if stage.schedule.shape == "exponential" and stage.schedule.final_lr <= 0:
        yield "schedule.final_lr must be above 0 for an exponential decay"
    if stage.data.min_clip_seconds >= stage.data.max_clip_seconds:
        yield "data.min_clip_seconds must be below data.max_clip_seconds"


def of_engine(stage: "StageManifest") -> Iterator[str]:
    """What moves the players, on the device that there is."""
    engine, limit = stage.engine, zero_limit(stage.objective.name)
    if engine.name == "deepspeed" and engine.zero_stage > limit:
        yield (
            f"engine.zero_stage {engine.zero_stage} gives wrong gradients with objective {stage.objective.name!r}; "
            f"use {limit} or less"
        )
    if engine.offload and (engine.name == "plain" or engine.zero_stage == 0):
        yield "engine.offload needs engine.name: deepspeed and engine.zero_stage: 1, 2 or 3"
    if engine.compile and stage.device == "cpu":
        yield "engine.compile needs device: cuda; on a CPU it would only cost time"
    if engine.compile and engine.name == "deepspeed" and engine.zero_stage == 3:
        yield "engine.compile does not work with engine.zero_stage 3, which cuts the weights; use 2 or less"


def of_workers(stage: "StageManifest") -> Iterator[str]:
    """How many, and who starts them."""
    if stage.launcher == "in_process" and (stage.workers > 1 or stage.engine.name != "plain"):
        yield "launcher in_process needs workers: 1 and engine.name: plain"
    if stage.min_workers is not None and (stage.min_workers > stage.workers or stage.launcher != "ray"):
        yield f"min_workers ({stage.min_workers}) must be at most workers ({stage.workers}), with launcher ray"


def of_players(stage: "StageManifest") -> Iterator[str]:
    """Optimizers of players that the objective has."""
    known = players_of(stage.objective.name)
    for player in stage.optimizer.players:
        if known and player not in known:
            yield f"optimizer.players: no player {player!r}{did_you_mean(player, known)}; there are: {known}"


def of_mixture(stage: "StageManifest") -> Iterator[str]:
    """Parts of the mixture that the objective can read."""
    mixture = stage.data.mixture
    if len(set(map(str, mixture))) < len(mixture):
        yield "data.mixture: the same part is named twice"
    if any(part.reads == "caption" for part in mixture) and not needs_text(stage.objective.name):
        yield f"data.mixture: reads: caption is for a backbone; objective {stage.objective.name!r} reads none"
