"""Several utterances decoded in one batch, each as it would be decoded alone: for a GPU, which one leaves idle."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.audiovae.vae import AudioVAE

FRAMES = 1000
"""Frames of a batch, with its padding (40 s): what bounds its memory."""


@torch.no_grad()
def decoded_together(vae: AudioVAE, latents: Sequence[Tensor]) -> list[Tensor]:
    """Latents (F, D) of some utterances, at least a frame each, to samples (F * hop,).

    The frames behind the end of a shorter one are zeros where the decoder looks ahead, as they are behind the longest.
    """
    frame_BF1 = pad_sequence([latent_FD.new_ones(len(latent_FD), 1) for latent_FD in latents], batch_first=True)
    x_BDF = vae.decoder_input(pad_sequence(list(latents), batch_first=True)) * frame_BF1.transpose(1, 2)
    wave_BS: Tensor = vae.decoder(x_BDF)
    return [wave_S[: len(latent_FD) * vae.config.hop] for wave_S, latent_FD in zip(wave_BS, latents, strict=True)]


def batches(frames: Sequence[int], *, most: int = FRAMES) -> Iterator[list[int]]:
    """Which utterances of so many frames are decoded together: those of like length, within `most`, or one alone."""
    batch: list[int] = []
    spoken = [number for number, count in enumerate(frames) if count]
    for number in sorted(spoken, key=lambda number: frames[number], reverse=True):
        if batch and (len(batch) + 1) * frames[batch[0]] > most:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
