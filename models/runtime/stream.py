"""Speak a text as a stream: each chunk of waveform as soon as its look-ahead is there; joined, the offline waveform."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

from torch import Tensor

from models.audiovae.streaming import StreamingDecoder
from models.runtime.batch import Step, steps
from models.runtime.request import FinishReason, Options, Request
from models.runtime.static_decoder import StaticDecoder

if TYPE_CHECKING:
    from models.runtime.bundle import Bundle


@dataclass(frozen=True)
class Chunk:
    """Samples that will not change any more."""

    wave_S: Tensor
    """Float32, on the CPU; empty only in the last chunk of a stream."""
    rate_hz: int
    finish_reason: FinishReason | None
    """Set on the last chunk."""


def generate_stream(bundle: "Bundle", text: str, **options: Unpack[Options]) -> Iterator[Chunk]:
    """Speak `text` in chunks: 80 ms at first (two frames are held back), then 160 ms a patch, 80 ms at the end.

    Raises: as models.runtime.generate.generate, before the first chunk.
    """
    return chunks(bundle, steps(bundle, Request(text=text, **options)))


def chunks(bundle: "Bundle", made: Iterator[Step]) -> Iterator[Chunk]:
    """Decode patches as they come."""
    speaker = Speaker(bundle)
    for step in made:
        yield from speaker.say(step)


class Speaker:
    """The waveform of one stream of patches."""

    def __init__(self, bundle: "Bundle") -> None:
        self.decoder: StreamingDecoder | StaticDecoder = (
            StreamingDecoder(bundle.audiovae)
            if bundle.slots is None
            else bundle.slots.decoder(bundle.audiovae, patch=bundle.config.patch_size)
        )
        self.rate_hz = bundle.config.audiovae.sample_rate

    def say(self, step: Step) -> Iterator[Chunk]:
        """What can be heard once the patch is there; the rest too, where it is the last."""
        ready_S = self.decoder.push(step.latent_KD)
        if len(ready_S):  # a patch may be shorter than the look-ahead
            yield Chunk(ready_S.cpu(), self.rate_hz, None)
        if step.finish_reason:
            yield Chunk(self.decoder.flush().cpu(), self.rate_hz, step.finish_reason)
