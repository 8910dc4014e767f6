"""A segment on its way through the chain: every waveform that it has had, and what an earlier chain knows of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.clip import Clip, Rejected, whole_samples
from pipelines.ledger import Array, Sound
from pipelines.packing.members import flac_of, npy_of
from pipelines.recipe import TransformSpec
from pipelines.reuse import Earlier, Known
from pipelines.row import Segment, Wave


@dataclass
class Held:
    """A segment on its way through the chain, with every waveform that it has had."""

    segment: Segment
    made: list[tuple[str, Wave]] = field(default_factory=list)
    """Transform -> the waveform that it made, in this run."""
    stored: tuple[Sound, ...] = ()
    """Waveforms that an earlier chain has stored, of the transforms in `taken_over`."""
    arrays: dict[str, Array | tuple[str, bytes]] = field(default_factory=dict)
    """Name -> an array that is stored, or who made it now and its .npy."""
    known: Known | None = None
    """What an earlier chain has found out about it."""
    views: dict[int, Wave] = field(default_factory=dict)

    def hear(self, wave_S: Wave, *, by: str) -> None:
        """It has another waveform now."""
        self.made.append((by, wave_S))
        self.views = {}

    def wave(self) -> Wave:
        """The waveform as it is now."""
        if not self.made:
            assert self.known is not None
            self.made.append((self.stored[-1].by, self.known.wave(self.stored[-1])))
        return self.made[-1][1]

    def clip_for(self, spec: TransformSpec) -> Clip:
        """What the transform may see: fields of others that it does not read are hidden."""
        return Clip(self.segment.having(dict.fromkeys(spec.hides)), self.wave(), self.views)


def settle(item: Held, outcome: Clip | Rejected, spec: TransformSpec) -> str | None:
    """Take from an outcome what its transform may say; the reason where it rejects the segment."""
    item.segment = item.segment.having({name: getattr(outcome.segment, name) for name in spec.sets})
    if isinstance(outcome, Rejected):
        return outcome.reason
    item.arrays |= {name: (spec.name, npy_of(array)) for name, array in outcome.arrays.items()}
    before = item.wave()
    if outcome.wave_S is not before:
        assert spec.changes_wave, f"{spec.name} changed a waveform, but does not say CHANGES_WAVE"
        assert len(outcome.wave_S) == len(before), f"{spec.name} changed the length of a clip"
        item.hear(quantized(outcome.wave_S), by=spec.name)
    return None


def taken_over(held: Sequence[Held], spec: TransformSpec, earlier: Earlier | None) -> dict[int, str | None]:
    """Segments (by id) for which an earlier chain has run this very transform -> the reason where it rejected them.

    A transform may look at the clips of a recording together, so a recording is taken over whole or not at all: only
    where the segments that reach the transform are those that reached it then.
    """
    if earlier is None or spec.name not in earlier.same:
        return {}
    groups: dict[str, list[Held]] = {}
    for item in held:
        groups.setdefault(item.segment.recording_sha256, []).append(item)
    found: dict[int, str | None] = {}
    for sha256, group in groups.items():
        if {item.segment.key for item in group} != earlier.reached(spec.name, sha256):
            continue
        for item in group:
            assert item.known is not None
            item.segment = item.segment.having(item.known.facts(spec.sets))
            made = [sound for sound in item.known.sounds if sound.by == spec.name]
            if made:
                item.stored, item.made, item.views = (*item.stored, *made), [], {}
            item.arrays |= {array.name: array for array in item.known.fate.arrays if array.by == spec.name}
            found[id(item)] = item.known.reason_by(spec.name)
    return found


def placed(item: Held, *, put: Callable[[bytes], int]) -> tuple[Sound, ...]:
    """Where the waveforms lie, encoded and `put` into the unit's sound; what is stored stays where it is."""
    stored_by = {sound.by for sound in item.stored}
    found = list(item.stored)
    for by, wave_S in item.made:
        if by not in stored_by:
            flac = flac_of(wave_S, rate_hz=item.segment.rate_hz)
            found.append(Sound(by, put(flac), len(flac)))
    return tuple(found)


def placed_arrays(item: Held, *, put: Callable[[bytes], int]) -> tuple[Array, ...]:
    """Where the arrays lie, in order of their names, as `placed`."""
    return tuple(
        held if isinstance(held, Array) else Array(name, held[0], put(held[1]), len(held[1]))
        for name, held in sorted(item.arrays.items())
    )


def quantized(wave_S: Wave) -> Wave:
    """The waveform as 16-bit FLAC will give it back: what is measured is what is stored, to the last bit."""
    whole = whole_samples(wave_S)
    whole /= np.float32(32768)
    return whole
