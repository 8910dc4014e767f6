"""Speak a text as a stream: each chunk of waveform as soon as its look-ahead is there; joined, the offline waveform."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Unpack

from torch import Tensor

from models.audiovae.streaming import StreamingDecoder
from models.runtime.bundle import Bundle
from models.runtime.generate import FinishReason, Options, Request, Step, steps


@dataclass(frozen=True)
class Chunk:
    """Samples that will not change any more."""

    wave_S: Tensor
    rate_hz: int
    finish_reason: FinishReason | None
    """Set on the last chunk."""


def generate_stream(bundle: Bundle, text: str, **options: Unpack[Options]) -> Iterator[Chunk]:
    """Speak `text` in chunks: 80 ms at first (two frames are held back), then 160 ms a patch, 80 ms at the end.

    Raises: as models.runtime.generate.generate, before the first chunk.
    """
    return chunks(bundle, steps(bundle, Request(text=text, **options)))


def chunks(bundle: Bundle, made: Iterator[Step]) -> Iterator[Chunk]:
    """Decode patches as they come."""
    decoder = StreamingDecoder(bundle.audiovae)
    rate_hz = bundle.config.audiovae.sample_rate
    for step in made:
        ready_S = decoder.push(step.latent_KD)
        if len(ready_S):  # a patch may be shorter than the look-ahead
            yield Chunk(ready_S, rate_hz, None)
        if step.finish_reason:
            yield Chunk(decoder.flush(), rate_hz, step.finish_reason)
