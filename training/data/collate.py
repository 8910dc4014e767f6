"""Utterances to a batch: 48 kHz mono, cropped where too long, zero-padded to whole patches and to one length."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from training.data.draw import Draw
from training.objectives import Batch, Stored

RATE_HZ = 48_000
PATCH = 7680
"""Waveform samples of a patch: 160 ms, one autoregressive unit."""
FRAME = 1920
"""Waveform samples of a latent frame: 40 ms."""


def seconds_of_patches(patches: int) -> float:
    """Of so many patches. One function for all, since plans are made of it: rounded otherwise, who asks later which
    samples a stage has heard would have another plan."""
    return patches * PATCH / RATE_HZ


@dataclass(frozen=True)
class Utterance:
    """One utterance as it lies in its shard."""

    key: str
    wave_S: NDArray[np.float32]
    """Empty where it was not read, because its stored latents will do."""
    rate_hz: int
    text: str
    language: str | None
    speaker: str | None
    emotion: str | None = None
    stored: Stored | None = None
    """Its latents, where its shard has them."""
    template: str = "tts"
    """What the text is (models.text.tokens.TEMPLATES): `text_to_audio` where it is a caption."""

    @property
    def stored_samples(self) -> int:
        """Its length at 48 kHz in whole patches, by its latents; 0 without them."""
        return 0 if self.stored is None else len(self.stored.mean_FD) * FRAME


def patches_of(seconds_N: ArrayLike) -> NDArray[np.int64]:
    """Patches that so much audio takes, the last one padded; at least one."""
    samples_N = np.rint(np.asarray(seconds_N, dtype=np.float64) * RATE_HZ)
    return np.asarray(np.maximum(1, np.ceil(samples_N / PATCH)), dtype=np.int64)


def collate(utterances: Sequence[Utterance], *, max_clip_seconds: float, draw: Draw) -> Batch:
    """A batch of the utterances in their order; `draw` has their keys and places the crops.

    A cropped utterance loses its text, since it no longer says all of it, and its latents. One that was read without
    its waveform, which must be no longer than a clip, is silent, and as long as its latents.
    """
    longest = int(max_clip_seconds * RATE_HZ) // PATCH * PATCH or PATCH
    waves = [resampled(one) for one in utterances]
    where_B = draw.uniform("crop") if any(len(wave) > longest for wave in waves) else None
    heard = [len(wave) > 0 or one.stored is None for one, wave in zip(utterances, waves, strict=True)]
    lengths = [
        min(math.ceil(max(1, len(wave)) / PATCH) * PATCH, longest) if there else one.stored_samples
        for one, wave, there in zip(utterances, waves, heard, strict=True)
    ]
    wave_BS = torch.zeros(len(waves), max(lengths))
    for number, wave in enumerate(waves):
        if where_B is not None and len(wave) > longest:
            start = int(where_B[number] * (len(wave) - longest + 1))
            wave = wave[start : start + longest]
        wave_BS[number, : len(wave)] = torch.from_numpy(np.ascontiguousarray(wave))
    return Batch(
        keys=[one.key for one in utterances],
        wave_BS=wave_BS,
        length_B=torch.tensor(lengths),
        texts=["" if len(wave) > longest else one.text for one, wave in zip(utterances, waves, strict=True)],
        stored=[None if len(wave) > longest else one.stored for one, wave in zip(utterances, waves, strict=True)],
        languages=[one.language for one in utterances],
        speakers=[one.speaker for one in utterances],
        emotions=[one.emotion for one in utterances],
        templates=[one.template for one in utterances],
        heard=heard,
    )


def resampled(utterance: Utterance) -> NDArray[np.float32]:
    """The waveform at 48 kHz (soxr, high quality)."""
    if utterance.rate_hz == RATE_HZ or not len(utterance.wave_S):
        return utterance.wave_S
    import soxr

    return np.asarray(soxr.resample(utterance.wave_S, utterance.rate_hz, RATE_HZ), dtype=np.float32)
