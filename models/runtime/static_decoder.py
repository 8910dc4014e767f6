"""The AudioVAE's stream as three CUDA graphs (first step, next step, end), for streams that take turns."""

import threading
import weakref
from functools import partial

import torch
from torch import Tensor

from models.audiovae.blocks import Carry
from models.audiovae.vae import AudioVAE
from models.fusing import fusing
from models.runtime.graphs import Recorder


class StaticVoice:
    """The buffers of one step of a stream, and the steps. What a stream carries lies here while it holds them."""

    def __init__(self, vae: AudioVAE, *, patch: int, pool: object = None, backend: str | None = None) -> None:
        """`patch`: frames a step. `backend`: see Recorder."""
        self.vae, weight = vae, vae.post_proj.weight
        self.latent_1KD = weight.new_zeros(1, patch, vae.config.latent_dim)
        carry: Carry = {}
        with torch.no_grad(), fusing(backend):  # ordinary steps say how large everything is
            self.waves = {name: self.decoded(name, carry) for name in ("first", "next", "end")}
        self.carry = {key: value.clone() for key, value in carry.items()}
        self.recorder = Recorder(weight.device, pool, backend)
        self.holder: weakref.ref[StaticDecoder] | None = None
        self.lock = threading.Lock()
        """Held for a step and all that is laid out for it, since streams of several threads share the buffers."""

    def decoded(self, name: str, carry: Carry) -> Tensor:
        """The samples of a step, (1, S)."""
        if name != "end":
            return self.vae.decode(self.latent_1KD, carry)
        pre = self.vae.decoder.conv_pre
        held = carry[pre, "input"]
        if not pre.ahead:
            return held.new_zeros(1, 0)
        made: Tensor = self.vae.decoder(held.new_zeros((*held.shape[:2], pre.ahead)), carry)
        return made

    @torch.no_grad()
    def step(self, name: str) -> None:
        """One step from static buffers into static buffers."""
        carry = {} if name == "first" else dict(self.carry)
        self.waves[name].copy_(self.decoded(name, carry))
        torch._foreach_copy_(list(self.carry.values()), [carry[key] for key in self.carry])

    def run(self, name: str) -> Tensor:
        """The samples of a step, (S,)."""
        self.recorder.run(name, partial(self.step, name), kept=list(self.carry.values()))
        return self.waves[name][0].clone()

    def give_to(self, decoder: "StaticDecoder") -> None:
        """Lay out what a stream carries, and put away what another one does."""
        before = None if self.holder is None else self.holder()
        if before is decoder:
            return
        if before is not None:
            before.carried = [value.clone() for value in self.carry.values()]
        if decoder.carried is not None:
            torch._foreach_copy_(list(self.carry.values()), decoder.carried)
        self.holder = weakref.ref(decoder)


class StaticDecoder:
    """One stream: models.audiovae.streaming.StreamingDecoder for whole patches of one speech."""

    def __init__(self, voice: StaticVoice) -> None:
        self.voice = voice
        self.carried: list[Tensor] | None = None
        """What the stream carries, while another one holds the buffers."""
        self.begun, self.closed = False, False

    def push(self, latent_KD: Tensor) -> Tensor:
        """A patch in, the samples that are ready out; nothing where there are no frames.

        Raises: RuntimeError after `flush`: a stream ends once.
        """
        if self.closed:
            raise RuntimeError("this stream was flushed; start another one")
        if not len(latent_KD):
            return self.voice.latent_1KD.new_zeros(0)
        name = "next" if self.begun else "first"
        self.begun = True
        with self.voice.lock:
            self.voice.give_to(self)
            self.voice.latent_1KD.copy_(latent_KD[None], non_blocking=True)
            return self.voice.run(name)

    def flush(self) -> Tensor:
        """The samples still held back; then the stream is over."""
        self.closed = True
        if not self.begun:
            return self.voice.latent_1KD.new_zeros(0)
        with self.voice.lock:
            self.voice.give_to(self)
            return self.voice.run("end")
