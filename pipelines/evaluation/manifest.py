"""What an evaluation manifest says: what to make with a bundle, out of which utterances, and how to score it."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from infra.manifest import Device, Entry, Manifest, entry_of

if TYPE_CHECKING:
    Metric = Entry
else:
    Metric = entry_of("pipelines.evaluation.metrics")


class Choice(Manifest):
    """Which utterances of the corpus: an order drawn by the seed, one of each voice before a second of any."""

    utterances: int = Field(default=4, ge=1)
    min_seconds: float = Field(default=1.0, ge=0)
    max_seconds: float = Field(default=8.0, gt=0)

    @model_validator(mode="after")
    def in_order(self) -> "Choice":
        if self.min_seconds > self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds} is more than max_seconds {self.max_seconds}")
        return self


class Line(Manifest):
    """A text to be spoken."""

    text: str = Field(min_length=1)
    language: str | None = None


class Reconstruction(Manifest):
    """Through the AudioVAE and back: recordings, encoded (posterior mean) and decoded."""

    inputs: Choice = Choice()
    untrained: bool = True
    """Score the same with an untrained AudioVAE of the same shape too: what numbers mean where nothing was learned."""


class Speaking(Manifest):
    """How the bundle speaks; None leaves it to the model."""

    num_steps: int | None = Field(default=None, ge=1)
    method: Literal["euler", "midpoint", "rk4"] | None = None
    guidance_scale: float | None = Field(default=None, ge=0)
    speaker_scale: float = 1.5
    stop_threshold: float = Field(default=0.8, ge=0, le=1)
    max_seconds: float = Field(default=20.0, gt=0)


class Speech(Manifest):
    """Texts, spoken in the voices of prompts."""

    mode: Literal["continuation", "xvector", "no_prompt"] = "continuation"
    """With prompts: continue them (their text must be known), or take their x-vector alone."""
    prompts: Choice = Choice(utterances=2, max_seconds=6.0)
    lines: list[Line] = []
    """Each is spoken in the voice of every prompt."""
    list_file: str | None = None
    """Instead of prompts of the corpus: a Seed-TTS-Eval list, `utt|prompt_text|prompt_wav|infer_text` a line, the wav
    relative to the list; relative to where the command runs."""
    list_language: str | None = None
    tag_language: bool = False
    """Put the language tag before the text."""
    sampler: Speaking = Speaking()
    recordings: bool = True
    """Score the prompts themselves too: what the same measures say of real speech."""

    @model_validator(mode="after")
    def says_something(self) -> "Speech":
        if bool(self.lines) == bool(self.list_file):
            raise ValueError("give lines to speak, or a list_file; one of the two")
        return self


class EvalManifest(Manifest):
    """One evaluation of one bundle."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    purpose: str = ""
    """A sentence for people, shown in the report."""
    seed: int = 0
    device: Device = "cpu"
    """Where the bundle computes; metrics that can have a `device` of their own."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the bundle's core; released models are published in bfloat16 on a GPU."""
    reconstruction: Reconstruction | None = None
    speech: Speech | None = None
    metrics: list[Metric] = Field(min_length=1)
    resamples: int = Field(default=1000, ge=100)
    """Of the bootstrap that gives the confidence intervals."""
    players: int = Field(default=12, ge=0)
    """How many utterances of each kind the report lets you listen to; all lie in wavs/."""

    @model_validator(mode="after")
    def one_kind(self) -> "EvalManifest":
        if (self.reconstruction is None) == (self.speech is None):
            raise ValueError("an evaluation is a reconstruction or speech: give the settings of one of the two")
        return self
