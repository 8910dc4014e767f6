"""Slots of a bundle: lent to who speaks, kept for the next, as many as fit a stated memory.

Recording the graphs of a size takes about a second, so the first request of a size waits for it and later ones do not.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor, nn

from models.audiovae.streaming import StreamingDecoder
from models.audiovae.vae import AudioVAE
from models.backbone.flow import Sampler
from models.runtime.slots import Size, Slots
from models.runtime.speaking import Parts
from models.runtime.static_decoder import StaticDecoder, StaticVoice

SHARE = 0.4
"""Of the device's memory, for buffers at most."""
CPU_BYTES = 2**30


def stamp(network: nn.Module) -> tuple[tuple[int, int], ...]:
    """Where a network's weights lie and how often they were written: graphs read them there."""
    tensors: Iterator[Tensor] = chain(network.parameters(), network.buffers())
    return tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)


@dataclass
class SlotPool:
    """What a bundle speaks in on a GPU. One stream of the device at a time: its graphs share their memory."""

    most_bytes: int | None = None
    """Of buffers, lent and kept; None: a share of the device's memory. Who finds no room speaks in the ordinary way."""
    backend: str | None = None
    """See models.runtime.graphs.Recorder."""
    free: list[Slots] = field(default_factory=list)
    """The least recently used first."""
    lent_bytes: int = 0
    written: dict[str, object] = field(default_factory=dict)
    voice: StaticVoice | None = None
    memory: object = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __reduce__(self) -> tuple[type["SlotPool"], tuple[int | None, str | None]]:
        """A copy makes its own: buffers and graphs belong to these networks."""
        return SlotPool, (self.most_bytes, self.backend)

    def room(self, device: torch.device) -> int:
        """Bytes that buffers may take."""
        if self.most_bytes is not None:
            return self.most_bytes
        if device.type != "cuda":
            return CPU_BYTES
        return int(SHARE * torch.cuda.get_device_properties(device).total_memory)

    def changed(self, name: str, network: nn.Module) -> bool:
        """Whether a network is another than at the last call, or has other weights."""
        found = stamp(network)
        same = self.written.get(name) == found
        self.written[name] = found
        return not same

    def pool(self, device: torch.device) -> object:
        """Memory that all graphs share."""
        if self.memory is None and device.type == "cuda":
            self.memory = torch.cuda.graph_pool_handle()
        return self.memory

    def lend(self, parts: Parts, sampler: Sampler, size: Size, *, must: bool = False) -> Slots | None:
        """Slots of that size, to be given back; None where there is no room, unless there `must` be."""
        with self.lock:
            device = parts.backbone.device
            if self.changed("backbone", parts.backbone):
                self.free.clear()  # recorded steps read weights where they lay
            for slots in self.free:
                if (slots.sampler, slots.size) == (sampler, size):
                    self.free.remove(slots)
                    return self.lent(slots, parts)
            needed, room = Slots(parts, sampler, size, device=torch.device("meta")).bytes, self.room(device)
            if not must and self.lent_bytes + needed > room:
                return None
            while self.free and self.lent_bytes + sum(slots.bytes for slots in self.free) + needed > room:
                self.free.pop(0)
            return self.lent(Slots(parts, sampler, size, pool=self.pool(device), backend=self.backend), parts)

    def lent(self, slots: Slots, parts: Parts) -> Slots:
        """Note that they are lent, empty, with the latent statistics of the day."""
        slots.active_R.zero_()
        for history in slots.histories:
            history.length_R.zero_()
        slots.mean_D.copy_(parts.mean_D)
        slots.std_D.copy_(parts.std_D)
        slots.weights = self.written["backbone"]
        self.lent_bytes += slots.bytes
        return slots

    def decoder(self, vae: AudioVAE, *, patch: int) -> StaticDecoder | StreamingDecoder:
        """A stream of patches of so many frames; an ordinary one where the first patch is all look-ahead."""
        if patch <= vae.config.num_decoder_lookahead:
            return StreamingDecoder(vae)
        with self.lock:
            if self.changed("audiovae", vae) or self.voice is None:
                pool = self.pool(vae.post_proj.weight.device)
                self.voice = StaticVoice(vae, patch=patch, pool=pool, backend=self.backend)
            return StaticDecoder(self.voice)

    def give_back(self, slots: Slots) -> None:
        """Keep slots for the next who speaks, unless the weights are others by now. Nothing is written to the device:
        the garbage collector calls this, maybe while a step is recorded, and it would become a part of that step."""
        with self.lock:
            self.lent_bytes -= slots.bytes
            if slots.weights == self.written["backbone"]:
                self.free.append(slots)
