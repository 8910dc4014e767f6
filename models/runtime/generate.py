"""Speak texts: one patch after the other, until the stop head or the stated maximum ends it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor

from models.audiovae.streaming import StreamingDecoder
from models.audiovae.together import batches, decoded_together
from models.runtime.batch import Batch, Step, steps
from models.runtime.draws import Draws
from models.runtime.prompt import RequestError
from models.runtime.request import FinishReason, Options, Request

if TYPE_CHECKING:
    from models.audiovae.vae import AudioVAE
    from models.runtime.bundle import Bundle

__all__ = ["Draws", "FinishReason", "Options", "Request", "Speech", "generate", "generate_batch"]

DECODED_FRAMES = 250
"""Frames decoded at once (10 s): a longer speech needs no more memory."""


@dataclass(frozen=True)
class Speech:
    """What was spoken."""

    wave_S: Tensor
    """Float32 samples in [-1, 1], on the CPU."""
    rate_hz: int
    finish_reason: FinishReason
    """`stop`: the stop head ended it; `length`: the maximum cut it; `cancelled`: it was called off."""
    latent_FD: Tensor
    """Raw latents that the waveform was made from."""
    stop_probabilities: tuple[float, ...]
    """What the stop head said before each patch."""

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.wave_S) / self.rate_hz

    @property
    def patches(self) -> int:
        """Autoregressive steps that were spoken."""
        return len(self.stop_probabilities)


def generate(bundle: "Bundle", text: str, **options: Unpack[Options]) -> Speech:
    """Speak `text`. The same bundle, request and seed give the same samples, whatever ran before.

    Raises: RequestError for a request that cannot be met, BundleError for a bundle that cannot speak yet.
    """
    return spoken(bundle, list(steps(bundle, Request(text=text, **options))))


def generate_batch(bundle: "Bundle", requests: Sequence[Request]) -> list[Speech]:
    """Speak several requests together, each as it would be spoken alone (within rounding).

    Raises: as `generate`, with the number of the request: before anything is spoken, where what is asked for cannot be
    met. Where a request must not end the others, take `models.runtime.batch.Batch`, whose steps carry errors.
    """
    batch, made = Batch(bundle), [list[Step]() for _ in requests]
    for number, request in enumerate(requests):
        try:
            batch.add(request)
        except RequestError as error:
            raise RequestError(f"request {number}: {error}") from None
    while batch.busy:
        for number, step in batch.step().items():
            if isinstance(step.error, RequestError):
                raise RequestError(f"request {number}: {step.error}")
            if step.error is not None:
                raise step.error
            made[number].append(step)
    return speeches(bundle, made)


def spoken(bundle: "Bundle", made: Sequence[Step]) -> Speech:
    """The patches of one request as a waveform."""
    return speeches(bundle, [made])[0]


def speeches(bundle: "Bundle", made: Sequence[Sequence[Step]]) -> list[Speech]:
    """The patches of requests as waveforms."""
    latents = [torch.cat([step.latent_KD for step in own]) for own in made]
    waves = all_decoded(bundle.audiovae, latents)
    return [speech(bundle, *one) for one in zip(made, latents, waves, strict=True)]


def speech(bundle: "Bundle", made: Sequence[Step], latent_FD: Tensor, wave_S: Tensor) -> Speech:
    """What was spoken, on the CPU."""
    finish = made[-1].finish_reason
    assert finish is not None
    return Speech(
        wave_S=wave_S.cpu(),
        rate_hz=bundle.config.audiovae.sample_rate,
        finish_reason=finish,
        latent_FD=latent_FD.cpu(),
        stop_probabilities=tuple(step.stop_probability for step in made if len(step.latent_KD)),
    )


@torch.no_grad()
def decoded(vae: "AudioVAE", latent_FD: Tensor) -> Tensor:
    """Latents as samples, in blocks where they are many: (F, D) -> (S,)."""
    if 0 < len(latent_FD) <= DECODED_FRAMES:
        return vae.decode(latent_FD[None])[0]
    stream = StreamingDecoder(vae)
    blocks = [stream.push(block_FD) for block_FD in torch.split(latent_FD, DECODED_FRAMES)]
    return torch.cat([*blocks, stream.flush()])


def all_decoded(vae: "AudioVAE", latents: Sequence[Tensor]) -> list[Tensor]:
    """Several latents as samples: on a GPU in batches, since one utterance leaves most of it idle."""
    found: dict[int, Tensor] = {}
    if vae.post_proj.weight.is_cuda:
        for batch in batches([len(latent_FD) for latent_FD in latents]):
            if len(batch) > 1:
                made = decoded_together(vae, [latents[number] for number in batch])
                found.update(zip(batch, made, strict=True))
    return [found[n] if n in found else decoded(vae, latent_FD) for n, latent_FD in enumerate(latents)]
