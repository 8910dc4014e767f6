"""The AudioVAE of a bundle alone, as an encoder of utterances: what is stored so that training need not encode.

Stored is the posterior as the encoder gives it, float, raw: whoever draws from it normalizes by the bundle's latent
statistics afterwards, as training does (`clean = (mean + noise * std - mean_D) / std_D`).
"""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.runtime import files, tensors
from models.runtime.bundle import VOCODER, BundleError, find_bundle
from models.runtime.configuration import read_config, unusable

if TYPE_CHECKING:
    from models.audiovae.vae import AudioVAE

ENCODER = ("audio_encoder.", "enc_mi_layer.", "pre_proj.")
"""Parts of the AudioVAE that make latents; training the others leaves stored latents as they are."""


class LatentEncoder:
    """Waveforms to posteriors. Knows its digest, and loads the network on the first call."""

    def __init__(self, bundle: str | Path, *, device: str = "cpu") -> None:
        """Raises: BundleError where there is no bundle, or its files cannot be read."""
        self.root, self.device = find_bundle(bundle), device
        self.config = read_config(self.root)
        if not (self.root / VOCODER).is_file():
            raise BundleError(f"{self.root} is not a whole bundle; missing: {VOCODER}")
        self.rate_hz, self.patch = self.config.audiovae.sample_rate, self.config.patch_samples

    @cached_property
    def digest(self) -> str:
        """See `encoder_digest`; the file is read for it, once."""
        return digest_of(tensors.read_tensors(self.root / VOCODER))

    @cached_property
    def audiovae(self) -> "AudioVAE":
        """The network, in evaluation mode."""
        from models.audiovae.vae import AudioVAE

        with files.as_bundle_error(unusable(self.root)), torch.random.fork_rng(devices=[]):
            audiovae = AudioVAE(self.config.audiovae)
        tensors.fill({VOCODER: audiovae}, where=self.root)
        return audiovae.eval().requires_grad_(False).to(self.device)

    @torch.inference_mode()
    def __call__(self, wave_S: NDArray[np.float32]) -> NDArray[np.float32]:
        """The posterior of one utterance at `rate_hz`, padded with zeros to whole patches: means, then log deviations.

        Shapes: (S,) -> (2, F, D), F = frames of the whole patches.
        """
        wave_1S = torch.from_numpy(padded(wave_S, patch=self.patch))[None].to(self.device)
        posterior = self.audiovae.encode(wave_1S)
        both_2FD = torch.stack([posterior.mean_BFD[0], posterior.log_std_BFD[0]])
        return np.asarray(both_2FD.float().cpu().numpy())


def padded(wave_S: NDArray[np.float32], *, patch: int) -> NDArray[np.float32]:
    """The waveform with zeros up to a whole number of patches, at least one."""
    whole = max(1, -(-len(wave_S) // patch)) * patch
    return np.pad(np.asarray(wave_S, dtype=np.float32), (0, whole - len(wave_S)))


def encoder_digest(audiovae: "AudioVAE") -> str:
    """Which encoder it is, 16 hex digits: latents that are stored under another digest are not its own."""
    return digest_of(audiovae.state_dict())


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes and float32 values of the encoder's tensors."""
    state = hashlib.sha256()
    for piece in pieces_of(tensors):
        state.update(piece)
    return state.hexdigest()[:16]


def pieces_of(tensors: Mapping[str, Tensor]) -> Iterator[bytes]:
    """What is hashed."""
    for name in sorted(tensors):
        if name.startswith(ENCODER):
            value = tensors[name].detach().float().cpu().contiguous()
            yield f"{name} {list(value.shape)}\n".encode()
            yield value.numpy().tobytes()
