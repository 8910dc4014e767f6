"""Encode clips with the AudioVAE of a bundle ahead of training: `<key>.latent.npy` beside the sound in the shard."""

from pathlib import Path
from typing import Literal

import numpy as np

from infra.manifest import Manifest
from models.frozen import WeightsError
from models.runtime.files import BundleError
from pipelines.clip import Clip, Rejected

SETS = ("latents_by", "latent_frames")
READS: tuple[str, ...] = ()
CHANGES_WAVE = False


class Config(Manifest):
    bundle: Path | None = None
    """A downloaded checkpoint, or what an AudioVAE stage made; only config.json and the vocoder's file are read."""
    dtype: Literal["float32", "float16"] = "float32"
    """float32 (at 128 numbers a frame, 25.6 kB a second) is exactly what training would encode; float16 is half."""
    device: Literal["cpu", "cuda"] = "cpu"


class Transform:
    """Makes the array `latent`: the posterior of the clip at 48 kHz, padded with zeros to whole patches; raw, that is,
    not normalized by the bundle's latent statistics. (2, F, D): means, then logs of standard deviations.

    Training hears FLAC of 16 bits, and so does this: the clip's waveform is already what its FLAC will give back.
    It stands last in a chain: a transform after it that changes the waveform takes the array away.
    """

    def __init__(self, cfg: Config) -> None:
        if cfg.bundle is None:
            raise WeightsError(
                "the transform latents needs the bundle whose AudioVAE encodes; add `bundle: FOLDER` to it"
            )
        self.cfg = cfg
        from models.runtime.latents import LatentEncoder

        try:
            self.encoder: LatentEncoder = LatentEncoder(cfg.bundle, device=cfg.device)
        except BundleError as error:
            raise WeightsError(str(error)) from None
        self.fingerprint = self.encoder.digest

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order, each encoded as if it were alone."""
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> Clip | Rejected:
        """Its latents."""
        latent_2FD = self.encoder(clip.at(self.encoder.rate_hz))
        if not np.isfinite(latent_2FD).all():
            return Rejected(
                segment=clip.segment, reason="failed:latents: the AudioVAE gives values that are not finite"
            )
        done = clip.with_(latents_by=self.encoder.digest, latent_frames=latent_2FD.shape[1])
        return done.with_array("latent", latent_2FD.astype(self.cfg.dtype))
