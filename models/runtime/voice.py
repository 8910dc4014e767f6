"""What a prompt gives: the x-vector of its voice and, where its text is known, a sample of its latents.

What the networks say of a recording is kept by its content, a bounded number of recordings, and forgotten when their
weights change.
"""

import hashlib
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.audiovae.vae import Posterior
from models.runtime.draws import Draws
from models.runtime.prompt import prompt_wave
from models.runtime.request import Request

if TYPE_CHECKING:
    from models.runtime.bundle import Bundle

RECORDINGS = 256
"""Recordings remembered, as officially; a 10 s one takes 260 kB."""


@dataclass(frozen=True)
class Voice:
    """What speech is to sound like."""

    xvector_1E: Tensor | None = None
    latent_1FD: Tensor | None = None
    """Raw, without the last patch, which is made anew (and dropped) so that speech joins on to the prompt's end."""

    @property
    def continues(self) -> bool:
        """Whether speech continues the recording."""
        return self.latent_1FD is not None

    def patches(self, size: int) -> int:
        """Patches of so many frames that are heard before speech begins."""
        return 0 if self.latent_1FD is None else self.latent_1FD.shape[1] // size


@dataclass
class Heard:
    """What is known of one recording."""

    xvector_1E: Tensor | None = None
    posterior: Posterior | None = None


@dataclass
class Prompts:
    """Recordings that were heard, the least recently used forgotten first."""

    most: int = RECORDINGS
    heard: OrderedDict[str, Heard] = field(default_factory=OrderedDict)
    hearers: tuple[object, ...] = ()
    """The networks that heard them, and the state of their weights."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __reduce__(self) -> tuple[type["Prompts"], tuple[int]]:
        """A copy has heard nothing: what was heard belongs to these networks."""
        return Prompts, (self.most,)

    def find(self, wave_1S: Tensor, bundle: "Bundle") -> Heard:
        """What is known of a recording by these networks: empty where nothing is."""
        weights = chain(bundle.audiovae.parameters(), bundle.speaker.parameters(), bundle.speaker.buffers())
        versions = tuple((tensor.data_ptr(), tensor._version) for tensor in weights)
        hearers = (weakref.ref(bundle.audiovae), weakref.ref(bundle.speaker), versions)
        key = hashlib.sha1(wave_1S.numpy().tobytes(), usedforsecurity=False).hexdigest()
        with self.lock:
            if hearers != self.hearers:
                self.heard.clear()
                self.hearers = hearers
            found = self.heard.setdefault(key, Heard())
            self.heard.move_to_end(key)
            while len(self.heard) > self.most:
                self.heard.popitem(last=False)
        return found


@torch.no_grad()
def voice_of(bundle: "Bundle", request: Request, draws: Draws) -> Voice:
    """Listen to the prompt of a request.

    Raises: RequestError for a prompt that is no voice.
    """
    if request.prompt_audio is None:
        return Voice()
    config = bundle.config
    rate_hz, seconds = config.audiovae.sample_rate, config.xvec_max_audio_seconds
    wave_1S = prompt_wave(request.prompt_audio, to_hz=rate_hz, patch_samples=config.patch_samples)[None]
    heard = bundle.prompts.find(wave_1S, bundle)
    wave_1S = wave_1S.to(bundle.speaker.device)
    spare = wave_1S.shape[1] - round(seconds * rate_hz)
    if seconds > 0 and spare > 0:  # cropped anew by every request
        start_B = torch.tensor([draws.below(spare + 1)])
        xvector_1E = bundle.speaker.embed(wave_1S, crop_start_B=start_B, max_seconds=seconds)
    else:
        if heard.xvector_1E is None:
            heard.xvector_1E = bundle.speaker.embed(wave_1S, max_seconds=seconds)
        xvector_1E = heard.xvector_1E
    if not request.transcript:
        return Voice(xvector_1E)
    if heard.posterior is None:
        heard.posterior = bundle.audiovae.encode(wave_1S)
    _, frames, width = heard.posterior.mean_BFD.shape
    noise_1FD = draws.normal(1, width, frames).transpose(1, 2)
    latent_1FD = heard.posterior.sample(noise_1FD.to(wave_1S.device))
    return Voice(xvector_1E, latent_1FD[:, : frames - config.patch_size])
