"""What tells a copy: the hash of the samples, for exact ones, and an audio print, for re-encoded and cut ones.

It belongs before the transforms that change the waveform, so that it tells the sound as delivered.
"""

import hashlib

from infra.manifest import Manifest
from pipelines.clip import Clip, Rejected, whole_samples
from pipelines.copies.prints import RATE_HZ, to_text, words_of

SETS = ("pcm_sha256", "audio_print")
READS: tuple[str, ...] = ()
CHANGES_WAVE = False


class Config(Manifest):
    pass


class Transform:
    """Sets the hash of the samples (16 bits, at the native rate), and the print (`pipelines.copies.prints`)."""

    def __init__(self, cfg: Config) -> None:
        pass

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> Clip:
        """Both, from the waveform."""
        samples = whole_samples(clip.wave_S).astype("<i2")
        hashed = hashlib.sha256(f"{clip.segment.rate_hz}:".encode() + samples.tobytes()).hexdigest()
        return clip.with_(pcm_sha256=hashed, audio_print=to_text(words_of(clip.at(RATE_HZ))))
