"""The manifest of a training stage: what is optimized, on what data, by what update, for how long."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from infra.digests import glance
from infra.manifest import Manifest, entry_of, load
from training.rules import contradictions

MODELS = Path(__file__).resolve().parents[1] / "manifests" / "models"

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Reads = Literal["text", "caption"]


class Bound(Manifest):
    """An interval that a score must lie in, ends included."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def has_an_inside(self) -> "Bound":
        """`min` is at most `max`."""
        if self.min is not None and self.max is not None and not self.min <= self.max:
            raise ValueError(f"no score lies between min ({self.min:g}) and max ({self.max:g})")
        return self


class Part(Manifest):
    """One corpus of the mixture: the input role that carries it, its share, and which of its samples count."""

    role: str = "data"
    """`data`, or `data_` and a name of yours for a corpus beside it."""
    weight: Positive = 1.0
    """Share of the audio seconds, relative to the other parts; `data.hours_power` makes it relative to hours, too."""
    tiers: tuple[str, ...] | None = None
    """Tiers of the corpus policy; None takes all."""
    where: dict[str, Bound | tuple[str | int | bool, ...]] = {}
    """Index column -> the values, or the interval, that it must have; a sample without the score is left out."""
    reads: Reads = "text"
    """What the backbone is told of a sample: its text, or its caption, which says how it sounds and not what is said,
    in the template `text_to_audio`. A sample without it is left out."""


class Data(Manifest):
    """Which utterances a step sees, however many workers share it."""

    mixture: tuple[Part, ...] = Field(default=(Part(),), min_length=1)
    seconds_per_step: Positive
    """Audio of one optimizer update, over all workers and micro-batches."""
    max_clip_seconds: Positive = 30.0
    """Longer ones are cropped at a random place, or left out where the objective needs the whole text."""
    min_clip_seconds: float = Field(default=0.0, ge=0)
    lot_seconds: Positive = 120.0
    """Audio of utterances of about one length that stay together: a step is made of such lots. Best what a micro-batch
    holds, or a part of it."""
    hours_power: float | None = Field(default=None, ge=0, le=1)
    """Shares of the mixture go with hours ** this: 1 is the natural mixture, 0.5 to 0.7 lifts what is rare."""
    max_epochs: Positive | None = None
    """Times that a part of the mixture may be repeated over the stage; what it cannot give, the others do."""
    held_out: float = Field(default=0.01, ge=0, lt=1)
    """Part of the samples, about, that is validated on and never trained on: whole speakers where a corpus names 20 or
    more, else whole recordings, chosen by the hash of their names (training.data.holdout)."""


class PlayerOptimizer(Manifest):
    """What one player has of its own; None takes the stage's value."""

    lr: Positive | None = None
    betas: tuple[Beta, Beta] | None = None
    eps: Positive | None = None
    weight_decay: float | None = Field(default=None, ge=0)
    clip: Positive | None = None


class Optimizer(Manifest):
    """AdamW, as torch has it; `clip` bounds the gradient norm of each player."""

    lr: Positive
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: float = Field(default=0.01, ge=0)
    clip: Positive | None = 1.0
    players: dict[str, PlayerOptimizer] = {}

    def of(self, player: str) -> "Optimizer":
        """The settings of one player."""
        own = self.players.get(player, PlayerOptimizer()).model_dump(exclude_none=True)
        return self.model_copy(update={**own, "players": {}})


class Schedule(Manifest):
    """Learning rate over the stage: a linear warm-up, then a shape that ends at `final_lr` (see training.schedule)."""

    shape: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    warmup_from: NotNegative = 0.0
    final_lr: NotNegative = 0.0


class Engine(Manifest):
    """What moves a player: the arithmetic is the same for all of them, up to the order of sums."""

    name: Literal["deepspeed", "plain"] = "deepspeed"
    zero_stage: Literal[0, 1, 2, 3] = 1
    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast; weights, gradients and optimizer stay float32."""
    accumulation: int = Field(default=1, ge=1, le=4096)
    """Micro-batches that a worker adds up before an update."""
    activation_checkpointing: bool = False
    """Transformer blocks keep their input alone and are computed again for the gradient: less memory, more time."""
    compile: bool = False
    """On a GPU: Transformer blocks through torch.compile. The same function up to rounding; the first two steps of
    unlike shapes take minutes longer."""
    tf32: bool = False
    """On a GPU: what matrix products multiply in float32 is rounded to 10 bits of mantissa first, and several times as
    fast. Convolutions and LSTMs do so in any case, as torch has it by default."""
    offload: bool = False
    """ZeRO 1 to 3 keep AdamW's moments, and the weights that it moves, in the memory of the host, and step there."""


class Bar(Manifest):
    """What tells a stage that has learned from one that has not: an untrained network is above every value.

    A stage says at its end whether it came below, and keeps that in its summary. It does not fail: what can be reached
    depends on the recordings too, and they are a person's own.
    """

    after_steps: Count
    """Updates that it takes; of a stage with fewer nothing is said."""
    below: dict[str, float] = Field(min_length=1)
    """Term -> the value that it should come below on the held-out samples."""


class StageManifest(Manifest):
    """One training stage."""

    stage: str = Field(pattern=r"^[a-z0-9_]+$")
    model: str | None = None
    """A file of manifests/models: the networks of a stage that starts from nothing."""
    objective: entry_of("training.objectives")  # type: ignore[valid-type]
    data: Data
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    engine: Engine = Engine()
    steps: Count
    seed: int = Field(default=0, ge=0, lt=2**63)
    workers: Count = 1
    min_workers: Count | None = None
    """Elastic: begin with as few, where the cluster has no room for `workers`, and take more when room comes; each
    change starts again from the newest checkpoint. None: wait for all of them."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What each worker has; cuda gives it one GPU."""
    launcher: Literal["ray", "in_process"] = "ray"
    """`in_process` runs one plain worker here, without Ray: for tests and for looking."""
    try_heaviest: bool = True
    """Before the first step, go forward and back on the heaviest micro-batch of the plan, to see whether it fits."""
    check_gradients_every: int = Field(default=100, ge=0)
    """Steps between two looks for gradients where none belongs (training.leaks); 0: never."""
    max_failures: int = Field(default=3, ge=0)
    """Times that Ray Train starts the workers again after one died."""
    save_every: Count = 1000
    """Updates that a kill may cost at most. A checkpoint is taken a tenth of it early, and written while training goes
    on; where the write is not done within that tenth, training waits for it."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    validate_every: Count = 1000
    bar: Bar | None = None
    validation_batches: int = Field(default=8, ge=0)
    sample_every: Count = 1000
    log_every: Count = 1
    """Steps between two points of a curve in MLflow; losses.jsonl has them all."""

    @property
    def write_within(self) -> int:
        """Updates that the write of a checkpoint may last."""
        return 0 if self.save_every == 1 else max(1, self.save_every // 10)

    @property
    def checkpoint_every(self) -> int:
        """Updates from one checkpoint to the next."""
        return self.save_every - self.write_within

    def due(self, every: int, *, done: int) -> bool:
        """Does what comes after every so many updates come after `done` of them? After the last one in any case."""
        return done % every == 0 or done == self.steps

    def times_due(self, every: int, *, after: int, until: int) -> int:
        """How often that is, after more updates than `after` and at most `until`."""
        last = until == self.steps and until % every != 0 and after < until
        return until // every - after // every + last

    @model_validator(mode="after")
    def fits_together(self) -> "StageManifest":
        """Rules that join two fields (training.rules), all of them in one sentence each."""
        wrong = list(contradictions(self))
        if self.model is not None and self.model not in model_names():
            wrong.append(f"model: no {self.model!r} in manifests/models; there are: {', '.join(model_names())}")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class ModelManifest(Manifest):
    """The networks of a bundle made from nothing: the official config.json and llm_config.json, as YAML."""

    config: dict[str, Any]
    llm: dict[str, Any]
    tokenizer: Path | None = None
    """A folder with an official tokenizer; None builds the byte-level one."""
    speaker: Path | None = None
    """An official speaker_encoder.safetensors; None draws random weights."""

    @field_validator("config")
    @classmethod
    def holds(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Raises: ValueError naming every value of the wrong type or sign."""
        from models.runtime.configuration import wrong_values

        if wrong := wrong_values(config):
            raise ValueError("; ".join(wrong))
        return config


def model_names() -> list[str]:
    """What `model` may name."""
    return sorted(path.stem for path in MODELS.glob("*.yaml"))


def load_model(name: str) -> ModelManifest:
    """The manifest of a model, by its name.

    Raises: ManifestError.
    """
    return load(ModelManifest, MODELS / f"{name}.yaml")


def identity(manifest: StageManifest) -> Mapping[str, Any]:
    """What decides the weights that come out; workers, ZeRO stage, accumulation and logging only decide how fast."""
    kept = ("stage", "objective", "data", "optimizer", "schedule", "steps", "seed")
    facts = manifest.model_dump(mode="json", include=set(kept))
    facts["dtype"] = manifest.engine.dtype
    facts |= {"tf32": True} if manifest.engine.tf32 else {}
    facts["objective"]["settings"] |= seen(manifest.objective.settings)
    model = None if manifest.model is None else load_model(manifest.model)
    facts["model"] = None if model is None else model.model_dump(mode="json") | seen(model)
    return facts


def seen(manifest: Manifest) -> dict[str, str]:
    """For each path in a manifest, what lies there in place of where it lies."""
    return {name: glance(value) for name, value in manifest if isinstance(value, Path)}
