"""What a stage optimizes: one file an objective. A file exposes `Config` (a Manifest) and `Objective`.

An objective takes a bundle and makes a bundle. It names its players, the networks that an optimizer updates, in the
order in which they are updated; everything else it holds (teachers, frozen encoders) never reaches an optimizer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from models.runtime.bundle import Bundle
from training.data.draw import Draw


class Term(NamedTuple):
    """A loss term before it is averaged: `total / count` over all ranks and micro-batches is its value.

    `total` has a gradient, `count` none: it says how many items (patches, samples, frames) were added up.
    """

    total: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody wants of a term


class Stored(NamedTuple):
    """Latents of an utterance out of its shard: the posterior of its waveform at 48 kHz, in whole patches, raw."""

    by: str
    """Digest of the encoder (models.runtime.latents); for another encoder they are worth nothing."""
    mean_FD: Tensor
    log_std_FD: Tensor


@dataclass
class Batch:
    """Utterances of one micro-batch, right-padded with zeros."""

    keys: list[str]
    wave_BS: Tensor
    """48 kHz, padded to a multiple of 7680."""
    length_B: Tensor
    """Samples before padding to the batch; each a multiple of 7680."""
    texts: list[str]
    languages: list[str | None]
    speakers: list[str | None]
    emotions: list[str | None] = field(default_factory=list)
    """Empty where nobody knows any."""
    templates: list[str] = field(default_factory=list)
    """What the texts are (models.text.tokens.TEMPLATES); empty where all are spoken."""
    stored: list[Stored | None] = field(default_factory=list)
    """Latents that need not be encoded; empty where nobody has looked for them."""
    heard: list[bool] = field(default_factory=list)
    """Whose waveform is there; empty means all. The row of the others is silent."""

    def template(self, number: int) -> str:
        """Of one text."""
        return self.templates[number] if self.templates else "tts"


class Player(nn.Module):
    """A network that an optimizer updates, wrapped so that calling it computes its own losses.

    An engine (DeepSpeed or plain) wraps the player; the loop calls `engine(prepared, draw)`, weights the terms, and
    steps. Only parameters with `requires_grad` reach the optimizer. Networks that are merely looked at (the
    discriminator, for the generator) are kept out of the module tree.
    """

    def forward(self, prepared: Any, draw: Draw) -> dict[str, Term]:
        """Loss terms by name, `group/term`, on what `Objective.prepare` made of a batch."""
        raise NotImplementedError

    def counts(self, prepared: Any, draw: Draw) -> Mapping[str, Tensor] | None:
        """The counts of at least all weighted terms, which `forward` will report, where they can be told without it;
        then a step of several micro-batches needs no pass without gradients before."""
        del prepared, draw
        return None


class Objective(Protocol):
    """The protocol of a class named `Objective` in a file of this folder."""

    players: Mapping[str, Player]
    """In the order of their updates within a step."""
    weights: Mapping[str, Mapping[str, float]]
    """Player -> term -> weight; a term without a weight is only reported."""

    def __init__(self, cfg: Any, bundle: Bundle, *, seed: int) -> None: ...

    def prepare(self, batch: Batch, draw: Draw) -> Any:
        """Everything frozen, once a batch, without gradients: latents, x-vectors, token ids, teacher targets."""

    def finish(self, batches: Any) -> Bundle:
        """The trained bundle, on the CPU, with latent statistics over `batches` (an iterable of Batch) where due."""


@dataclass(frozen=True)
class StepReport:
    """What one step came to: term values over all ranks, and what the update measured."""

    step: int
    losses: Mapping[str, float]
    grad_norms: Mapping[str, float] = field(default_factory=dict)
    lr: Mapping[str, float] = field(default_factory=dict)
