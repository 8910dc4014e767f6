"""Generations under way in slots: models.runtime.speaking.Speaking, its networks as two CUDA graphs a patch.

The device is waited for once a patch: for what the stop head says, and whether the patch is finite.
"""

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from models.backbone.flow import Sampler
from models.runtime.draws import Draws
from models.runtime.graphs import fill
from models.runtime.slot_pool import SlotPool
from models.runtime.slots import HEARS, READS, Size, Slots
from models.runtime.speaking import Opening, Parts, begin


class Lease:
    """Slots that are given back when nobody speaks in them any more."""

    def __init__(self, pool: SlotPool, slots: Slots) -> None:
        self.slots = slots
        self.end = weakref.finalize(self, pool.give_back, slots)
        self.end.atexit = False


class StaticSpeaking:
    """Some generations with one sampler; `rows_at[n]` is the place of generation n."""

    def __init__(self, pool: SlotPool, parts: Parts, sampler: Sampler, lease: Lease) -> None:
        self.pool, self.parts, self.sampler, self.lease = pool, parts, sampler, lease
        self.rows_at: list[int] = []
        self.patches: list[int] = []
        """Heard so far, a number a generation; the host keeps its own count, so that it need not ask the device."""
        self.positions: list[int] = []
        self.unheard = False
        """Whether there is a patch that the networks have not heard."""
        self.found_2R: Tensor | None = None

    @property
    def rows(self) -> int:
        """Generations in it."""
        return len(self.rows_at)

    @property
    def slots(self) -> Slots:
        """Where it lies now."""
        return self.lease.slots

    def verdict(self) -> Tensor:
        """What `sample` left for the host; waits for the device."""
        if self.found_2R is None:
            self.found_2R = self.slots.verdict_2R.cpu()[:, self.rows_at]
        return self.found_2R

    def stop_probability(self) -> Tensor:
        """Whether the patch that was made last is the last one, (B,), on the CPU."""
        return self.verdict()[0]

    def finite(self) -> Tensor:
        """Whether that patch is made of numbers, (B,), on the CPU."""
        return self.verdict()[1].bool()

    def sample(self, draws: Sequence[Draws]) -> None:
        """Make the next patch."""
        slots = self.slots
        _, K, D = slots.noise_RKD.shape
        noises = [slots.noise_RKD, slots.renoise_RKD] if self.sampler.renoises else [slots.noise_RKD]
        drawn = [torch.zeros(noise_RKD.shape) for noise_RKD in noises]
        for row, one in zip(self.rows_at, draws, strict=True):
            for noise_RKD in drawn:
                noise_RKD[row] = one.normal(1, K, D)[0]
        for noise_RKD, value in zip(noises, drawn, strict=True):
            fill(noise_RKD, value)
        slots.run("sample")
        self.unheard, self.found_2R = True, None

    def spoken(self) -> Tensor:
        """The patch that was made last, as the AudioVAE takes it: (B, K, D)."""
        raw_RKD = self.slots.raw_RKD
        if self.rows_at == list(range(self.rows)):
            return raw_RKD[: self.rows].clone()
        return torch.stack([raw_RKD[row] for row in self.rows_at])

    def replace(self, raw_BKD: Tensor) -> None:
        """Hear another patch instead of the one that was made last."""
        slots = self.slots
        for row, raw_KD in zip(self.rows_at, raw_BKD, strict=True):
            slots.made_RKD[row] = self.parts.normalized(raw_KD)
            slots.raw_RKD[row] = raw_KD

    def advance(self, words: Sequence[Sequence[int]]) -> None:
        """Hear the last patch and read text tokens (maybe none) behind it, a list a generation."""
        if self.unheard:
            words = self.step("hear", words, widths=HEARS, patches=1)
            self.unheard = False
        while any(map(len, words)):
            words = self.step("read", words, widths=READS, patches=0)

    def step(
        self, name: str, words: Sequence[Sequence[int]], *, widths: Sequence[int], patches: int
    ) -> Sequence[Sequence[int]]:
        """Run `hear` or `read` over so many patches of each, and as many of the text tokens as one step takes; what is
        left of these."""
        width = smallest(widths, max(map(len, words)))
        self.room_for(patches=patches, positions=patches + width)
        self.say([ids[:width] for ids in words], width)
        self.slots.run(name, width)
        self.patches = [count + patches for count in self.patches]
        self.positions = [
            count + patches + min(width, len(ids)) for count, ids in zip(self.positions, words, strict=True)
        ]
        return [ids[width:] for ids in words]

    def say(self, words: Sequence[Sequence[int]], width: int) -> None:
        """Lay out text tokens for a step that reads at most so many."""
        if not width:
            return
        ids_RT = torch.zeros(self.slots.ids_RT.shape, dtype=torch.long)
        count_R = torch.zeros(self.slots.count_R.shape, dtype=torch.long)
        for row, ids in zip(self.rows_at, words, strict=True):
            ids_RT[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
            count_R[row] = len(ids)
        fill(self.slots.ids_RT, ids_RT)
        fill(self.slots.count_R, count_R)

    def take(self, openings: Sequence[Opening]) -> None:
        """Begin further generations here, having read and heard all that comes before their own first patches."""
        assert not self.unheard
        began = [None if one.voice.latent_1FD is None else begin(self.parts, self.sampler, one) for one in openings]
        patches = [0 if one is None else one.heard(self.parts.backbone.config.unit) for one in began]
        positions = [0 if one is None else one.state.llm.length for one in began]
        self.room_for(patches=0, positions=0, more=list(zip(patches, positions, strict=True)))
        places = [row for row in range(self.slots.size.rows) if row not in self.rows_at][: len(openings)]
        backbone = self.parts.backbone
        voices = [backbone.speaker(one.voice.xvector_1E, scale=one.speaker_scale) for one in openings]
        self.slots.open(places, torch.cat(voices))
        for row, one in zip(places, began, strict=True):
            if one is not None:
                self.slots.take(row, one)
        texts: list[Sequence[int]] = [[] for _ in self.rows_at]
        for opening, one in zip(openings, began, strict=True):
            texts.append(opening.ids if one is None else [])
        self.rows_at += places
        self.patches += patches
        self.positions += positions
        self.advance(texts)

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Forget all generations but these; slots that are mostly empty are left for smaller ones."""
        if len(rows) == self.rows:
            return
        self.slots.active_R[[row for number, row in enumerate(self.rows_at) if number not in rows]] = 0
        verdict_2R = self.verdict() if self.unheard else None
        self.rows_at, self.patches, self.positions = (
            [values[row] for row in rows] for values in (self.rows_at, self.patches, self.positions)
        )
        self.found_2R = None if verdict_2R is None else verdict_2R[:, list(rows)]
        size = self.size(patches=0, positions=0)
        if 4 * size.rows <= self.slots.size.rows:
            self.move(size)

    def size(self, *, patches: int, positions: int, more: Sequence[tuple[int, int]] = ()) -> Size:
        """What holds all, `more` (patches, positions), and so many more patches and positions of each."""
        return Size.holding(
            rows=self.rows + len(more),
            patches=max([count + patches for count in self.patches] + [own for own, _ in more], default=0),
            positions=max([count + positions for count in self.positions] + [own for _, own in more], default=0),
        )

    def room_for(self, *, patches: int, positions: int, more: Sequence[tuple[int, int]] = ()) -> None:
        """Move into larger slots where these are too small."""
        size = self.size(patches=patches, positions=positions, more=more)
        if not self.slots.size.holds(size):
            own = self.slots.size
            self.move(
                Size(max(own.rows, size.rows), max(own.patches, size.patches), max(own.positions, size.positions))
            )

    def move(self, size: Size) -> None:
        """Go on in slots of another size, in its first rows."""
        slots = self.pool.lend(self.parts, self.sampler, size, must=True)
        assert slots is not None
        for row, source in enumerate(self.rows_at):
            slots.copy_row(row, other=self.slots, source=source)
        self.lease.end()
        self.lease, self.rows_at = Lease(self.pool, slots), list(range(self.rows))


def smallest(widths: Sequence[int], wanted: int) -> int:
    """The smallest width that is enough, or the largest there is."""
    return next((width for width in widths if width >= wanted), widths[-1])


def static_speaking(
    pool: SlotPool | None, parts: Parts, sampler: Sampler, openings: Sequence[Opening]
) -> StaticSpeaking | None:
    """Generations in slots; None where the bundle has none, or no room for them."""
    if pool is None:
        return None
    prompts = [one.voice.patches(parts.backbone.config.patch_size) for one in openings]
    positions = max(count + len(one.ids) for count, one in zip(prompts, openings, strict=True))
    size = Size.holding(rows=len(openings), patches=max(prompts), positions=positions)
    slots = pool.lend(parts, sampler, size)
    if slots is None:
        return None
    speaking = StaticSpeaking(pool, parts, sampler, Lease(pool, slots))
    speaking.take(openings)
    return speaking
