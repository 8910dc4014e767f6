"""The chain of transforms over one unit, in one process: audio is decoded once and never leaves it. No Ray here.

What an earlier chain has found out about the unit, and this one would find out again, is taken over (pipelines.reuse):
only transforms whose fingerprint differs run, on the stored sound, which is bit for bit what they would have heard.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from infra.manifest import resolve
from pipelines.attempts import GIVE_UP_CLIP, GIVE_UP_RECORDING, ISOLATE, Attempts
from pipelines.blame import blamed, outcomes_of
from pipelines.clip import Clip, Decoded, Rejected, Transform, Unusable
from pipelines.held import Held, placed, placed_arrays, quantized, settle, taken_over
from pipelines.ledger import Fate, RecordingFact, UnitResult, is_final, load, save, sound_path
from pipelines.manifest import CorpusManifest
from pipelines.recipe import fingerprint_of, recipe
from pipelines.reuse import Earlier, reusable
from pipelines.row import Recording
from pipelines.sealing import SoundFile
from pipelines.units import Unit
from pipelines.work import Work, fate_of, rest_of

if TYPE_CHECKING:
    from pipelines.transforms.segment import Cut

BATCH_SECONDS = 300.0
"""Audio that is worked on at a time: bounds the memory of a worker."""


class Chain:
    """The transforms of a manifest, made once a worker, and the work of running units through them."""

    def __init__(self, manifest: CorpusManifest) -> None:
        self.manifest = manifest
        modules = {entry.name: resolve("pipelines.transforms", entry.name) for entry in manifest.transforms}
        made = {entry.name: modules[entry.name].Transform(entry.settings) for entry in manifest.transforms}
        weights = {name: str(getattr(transform, "fingerprint", "")) for name, transform in made.items()}
        self.specs = recipe(manifest, weights=weights)
        self.probe, self.segment = made.pop("probe"), made.pop("segment")
        self.diarize = made.pop("diarize", None)
        self.rest: dict[str, Transform] = made
        self.most_seconds = dict.fromkeys(made, BATCH_SECONDS)
        """Transform -> seconds of audio in a batch; halved, for good, when memory does not suffice."""

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Transform -> fingerprint."""
        return {name: spec.fingerprint for name, spec in self.specs.items()}

    @cached_property
    def fingerprint(self) -> str:
        """Of the whole chain."""
        return fingerprint_of(self.specs)

    def run_unit(self, unit: Unit, work: Path, *, earlier: Path | None = None) -> UnitResult | None:
        """Do a unit and make it final; None where it was. `earlier`: its result by another chain, to take over from."""
        chain = self.fingerprint
        if is_final(work, unit=unit.id, chain=chain):
            return None
        with SoundFile(sound_path(work, unit=unit.id, chain=chain)) as sound:
            with Attempts(work, unit=unit.id, chain=chain) as attempts:
                so_far = Work(UnitResult(unit=unit.id, chain=chain, fingerprints=self.fingerprints), attempts, sound)
                if earlier is not None:
                    so_far.earlier = reusable(load(earlier), self.specs, sound=earlier.with_suffix(".flac"))
                if so_far.earlier is not None:
                    self.take_over(so_far, so_far.earlier)
                else:
                    self.run_recordings(unit.recordings, so_far)
            save(work, so_far.result, so_far.final_sound)
        return so_far.result

    def run_recordings(self, recordings: Sequence[Recording], so_far: Work) -> None:
        """Decode and segment one recording after another; run the other transforms whenever enough audio has come."""
        self.in_batches((self.segments_of(number, item, so_far) for number, item in enumerate(recordings)), so_far)

    def take_over(self, so_far: Work, earlier: Earlier) -> None:
        """The segments that an earlier chain has cut, scored again where this one differs."""
        so_far.result.recordings = list(earlier.recordings)
        for fate in earlier.settled:
            so_far.fate(fate)
        groups = ([Held(known.base, known=known, stored=known.sounds[:1]) for known in g] for g in earlier.groups)
        self.in_batches(groups, so_far)

    def in_batches(self, groups: Iterator[list[Held]], so_far: Work) -> None:
        """Score the segments of recordings, as many recordings at a time as fill a batch."""
        held: list[Held] = []
        for group in groups:
            held += group
            if sum(item.segment.seconds for item in held) >= BATCH_SECONDS:
                self.score(held, so_far)
                held = []
        self.score(held, so_far)

    def segments_of(self, number: int, recording: Recording, so_far: Work) -> list[Held]:
        """The segments of a recording; what is in none of them is a fate at once."""
        mark = f"decode {number}"
        if so_far.attempts.strikes[mark] >= GIVE_UP_RECORDING:
            why = "failed:crash: it killed workers again and again while it was decoded or cut"
            so_far.give_up(Unusable(recording=recording, reason=why, seconds=0.0), transform="probe")
            return []
        with so_far.attempts.mark(mark):
            return self.cut(recording, so_far)

    def cut(self, recording: Recording, so_far: Work) -> list[Held]:
        """Decode, find who speaks when, and cut."""
        decoded = self.step("probe", lambda: self.probe([recording])[0], so_far, recording=recording)
        if decoded is None:
            return []
        seconds = len(decoded.wave_S) / decoded.rate_hz
        so_far.count("probe", "ok")
        so_far.heard("probe", seconds)
        known: dict[str, Any] = {"recording": recording, "seconds": seconds}
        if self.diarize:
            so_far.heard("diarize", seconds)
            decoded = self.step("diarize", partial(self.diarize, decoded), so_far, **known)
            if decoded is None:
                return []
            so_far.count("diarize", "ok")
        so_far.heard("segment", seconds)
        cut = self.step("segment", partial(self.segment, decoded), so_far, **known)
        return [] if cut is None else pieces_of(decoded, cut, so_far)

    def step(
        self, name: str, call: Callable[[], Any], so_far: Work, *, recording: Recording, seconds: float = 0.0
    ) -> Any:
        """What a transform makes of a recording; None where nothing can be made of it, which is its fate then."""
        with self.timed(name, so_far):
            found = blamed(call, recording, seconds)
        if isinstance(found, Unusable):
            so_far.give_up(found, transform=name)
            return None
        return found

    def score(self, held: list[Held], so_far: Work) -> None:
        """Run the segments through the transforms that measure them, and keep the sound of all of them."""
        for name in self.rest:
            spec = self.specs[name]
            reasons = taken_over(held, spec, so_far.earlier)
            left = [item for item in held if id(item) not in reasons]
            for item, outcome in self.outcomes(name, left, so_far):
                reasons[id(item)] = settle(item, outcome, spec)
            going_on = []
            for item in held:
                if (reason := reasons[id(item)]) is None:
                    so_far.count(name, "ok")
                    going_on.append(item)
                else:
                    self.keep(item, so_far, fate_of(item.segment, transform=name, reason=reason))
            held = going_on
        for item in held:
            self.keep(item, so_far, fate_of(item.segment, transform=list(self.specs)[-1], reason=None))

    def outcomes(self, name: str, held: list[Held], so_far: Work) -> Iterator[tuple[Held, Clip | Rejected]]:
        """What a transform makes of the segments, batch by batch; clips that killed workers are left out."""
        for batch in self.batches(name, held):
            mark = f"{name} {so_far.batches}"
            so_far.batches += 1
            batch, deadly = self.without_deadly(name, batch, mark, so_far)
            yield from deadly
            clips = [item.clip_for(self.specs[name]) for item in batch]
            so_far.heard(name, sum(item.segment.seconds for item in batch))
            with so_far.attempts.mark(mark), self.timed(name, so_far):
                done = self.apply(name, clips)
            yield from zip(batch, done, strict=True)

    def batches(self, name: str, held: list[Held]) -> Iterator[list[Held]]:
        """The segments, as many at a time as the limit in seconds allows that holds when a batch begins."""
        while held:
            seconds = np.cumsum([item.segment.seconds for item in held])
            fits = max(1, int(np.searchsorted(seconds, self.most_seconds[name], side="right")))
            size = len(held) if self.specs[name].whole_recordings else fits
            yield held[:size]
            held = held[size:]

    def without_deadly(
        self, name: str, batch: list[Held], mark: str, so_far: Work
    ) -> tuple[list[Held], list[tuple[Held, Rejected]]]:
        """After a worker died in this batch: try each clip alone, and leave out the ones that kill.

        The batch then runs as a whole, as it would have done: who was killed for no fault of the clips gets the same.
        """
        if so_far.attempts.strikes[mark] < ISOLATE:
            return batch, []
        fine, deadly = [], []
        for item in batch:
            alone = f"{mark} {item.segment.key}"
            if so_far.attempts.strikes[alone] >= GIVE_UP_CLIP:
                why = f"failed:crash: it killed a worker while {name} had it alone in hand"
                deadly.append((item, Rejected(segment=item.segment, reason=why)))
                continue
            with so_far.attempts.mark(alone):
                self.apply(name, [item.clip_for(self.specs[name])])
            fine.append(item)
        return fine, deadly

    def keep(self, item: Held, so_far: Work, fate: Fate) -> None:
        """Encode the waveforms of a segment into the unit's sound, and note where they lie."""
        with self.timed("encode", so_far):
            sounds = placed(item, put=so_far.put)
        fate = replace(fate, sounds=sounds, arrays=placed_arrays(item, put=so_far.put))
        if fate.status == "ready":
            so_far.result.fates.append(fate)
        else:
            so_far.fate(fate)

    def apply(self, name: str, clips: list[Clip]) -> list[Clip | Rejected]:
        """One outcome a clip, in order, whatever one of them makes the transform raise."""
        return outcomes_of(self.rest[name], clips, name=name, limits=self.most_seconds)

    def timed(self, name: str, so_far: Work) -> AbstractContextManager[None]:
        """Add the time of what is done inside to the costs of `name`, also to those on a GPU where it runs on one."""
        spec = self.specs.get(name)
        return so_far.timed(name, on_gpu=spec is not None and "cuda" in str(spec.settings.get("device", "")))


def pieces_of(decoded: Decoded, cut: "Cut", so_far: Work) -> list[Held]:
    """The segments of a recording that was cut; what was rejected or lies between them is a fate at once."""
    seconds = len(decoded.wave_S) / decoded.rate_hz
    segments = [piece.segment for piece in cut.pieces]
    covered = sum(segment.seconds * (segment.speech_ratio or 0.0) for segment in segments)
    fact = RecordingFact(decoded.recording.name, seconds, len(segments), cut.speech_seconds, covered)
    so_far.result.recordings.append(fact)
    outside = seconds - sum(segment.seconds for segment in segments)
    if outside > 0.5 / decoded.rate_hz:
        so_far.fate(rest_of(decoded, outside))
    going_on = []
    for piece in cut.pieces:
        if isinstance(piece, Rejected):
            so_far.fate(fate_of(piece.segment, transform="segment", reason=piece.reason))
        else:
            so_far.count("segment", "ok")
            going_on.append(Held(piece.segment, [("segment", quantized(piece.wave_S))]))
    return going_on
