"""The chain of transforms over one unit, in one process: audio is decoded once and never leaves it. No Ray here.

What an earlier chain has found out about the unit, and this one would find out again, is taken over (pipelines.reuse):
only transforms whose fingerprint differs run, on the stored sound, which is bit for bit what they would have heard.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from infra.manifest import resolve
from pipelines.attempts import GIVE_UP_CLIP, GIVE_UP_RECORDING, ISOLATE, Attempts
from pipelines.blame import blamed, outcomes_of
from pipelines.clip import Clip, Rejected, Transform, Unusable
from pipelines.held import Held, quantized, settle, taken_over
from pipelines.ledger import Array, Fate, RecordingFact, Sound, UnitResult, is_final, load, save, sound_path
from pipelines.manifest import CorpusManifest
from pipelines.packing.members import flac_of
from pipelines.recipe import TransformSpec, fingerprint_of, recipe
from pipelines.reuse import Earlier, reusable
from pipelines.row import Recording
from pipelines.sealing import SoundFile
from pipelines.units import Unit
from pipelines.work import Work, fate_of, rest_of

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
                doing = Work(UnitResult(unit=unit.id, chain=chain, fingerprints=self.fingerprints), attempts, sound)
                if earlier is not None:
                    doing.earlier = reusable(load(earlier), self.specs, sound=earlier.with_suffix(".flac"))
                if doing.earlier is not None:
                    self.take_over(doing, doing.earlier)
                else:
                    self.run_recordings(unit.recordings, doing)
            save(work, doing.result, self.sound_of(doing))
        return doing.result

    def sound_of(self, doing: Work) -> SoundFile | Path:
        """The unit's sound: the earlier file where no waveform is new."""
        earlier = doing.earlier
        return doing.sound if earlier is None or doing.sound.size else earlier.sound

    def run_recordings(self, recordings: Sequence[Recording], doing: Work) -> None:
        """Decode and segment one recording after another; run the other transforms whenever enough audio has come."""
        self.in_batches((self.segments_of(number, item, doing) for number, item in enumerate(recordings)), doing)

    def take_over(self, doing: Work, earlier: Earlier) -> None:
        """The segments that an earlier chain has cut, scored again where this one differs."""
        doing.result.recordings = list(earlier.recordings)
        for fate in earlier.settled:
            doing.fate(fate)
        groups = ([Held(known.base, known=known, stored=known.sounds[:1]) for known in g] for g in earlier.groups)
        self.in_batches(groups, doing)

    def in_batches(self, groups: Iterator[list[Held]], doing: Work) -> None:
        """Score the segments of recordings, as many recordings at a time as fill a batch."""
        held: list[Held] = []
        for group in groups:
            held += group
            if sum(item.segment.seconds for item in held) >= BATCH_SECONDS:
                self.score(held, doing)
                held = []
        self.score(held, doing)

    def segments_of(self, number: int, recording: Recording, doing: Work) -> list[Held]:
        """The segments of a recording; what is in none of them is a fate at once."""
        mark = f"decode {number}"
        if doing.attempts.strikes[mark] >= GIVE_UP_RECORDING:
            why = "failed:crash: it killed workers again and again while it was decoded or cut"
            doing.give_up(Unusable(recording=recording, reason=why, seconds=0.0), transform="probe")
            return []
        with doing.attempts.mark(mark):
            return self.cut(recording, doing)

    def cut(self, recording: Recording, doing: Work) -> list[Held]:
        """Decode, find who speaks when, and cut."""
        decoded = self.timed("probe", doing, lambda: blamed(lambda: self.probe([recording])[0], recording))
        if isinstance(decoded, Unusable):
            doing.give_up(decoded, transform="probe")
            return []
        doing.count("probe", "ok")
        seconds = len(decoded.wave_S) / decoded.rate_hz
        doing.heard("probe", seconds)
        for name in ("diarize", "segment") if self.diarize else ("segment",):
            call = self.diarize if name == "diarize" else self.segment
            found = self.timed(name, doing, lambda c=call, d=decoded: blamed(lambda: c(d), recording, seconds))  # type: ignore[misc]
            doing.heard(name, seconds)
            if isinstance(found, Unusable):
                doing.give_up(found, transform=name)
                return []
            if name == "diarize":
                decoded = found
                doing.count(name, "ok")
        pieces = found.pieces
        inside = sum(piece.segment.seconds for piece in pieces)
        covered = sum(piece.segment.seconds * (piece.segment.speech_ratio or 0.0) for piece in pieces)
        fact = RecordingFact(recording.name, seconds, len(pieces), found.speech_seconds, covered)
        doing.result.recordings.append(fact)
        if seconds - inside > 0.5 / decoded.rate_hz:
            doing.fate(rest_of(decoded, seconds - inside))
        going_on = []
        for piece in pieces:
            if isinstance(piece, Rejected):
                doing.fate(fate_of(piece.segment, transform="segment", reason=piece.reason))
            else:
                doing.count("segment", "ok")
                going_on.append(Held(piece.segment, [("segment", quantized(piece.wave_S))]))
        return going_on

    def score(self, held: list[Held], doing: Work) -> None:
        """Run the segments through the transforms that measure them, and keep the sound of all of them."""
        for name, transform in self.rest.items():
            spec, going_on = self.specs[name], []
            taken = taken_over(held, spec, doing.earlier)
            left = [item for item in held if id(item) not in taken]
            outcomes = {id(item): outcome for item, outcome in self.outcomes(spec, transform, left, doing)}
            for item in held:
                reason = taken[id(item)] if id(item) in taken else settle(item, outcomes[id(item)], spec)
                if reason is None:
                    doing.count(name, "ok")
                    going_on.append(item)
                else:
                    self.keep(item, doing, fate_of(item.segment, transform=name, reason=reason))
            held = going_on
        for item in held:
            self.keep(item, doing, fate_of(item.segment, transform=list(self.specs)[-1], reason=None))

    def outcomes(
        self, spec: TransformSpec, transform: Transform, held: list[Held], doing: Work
    ) -> Iterator[tuple[Held, Clip | Rejected]]:
        """The transform over the segments, in batches bounded in seconds; clips that killed workers are left out."""
        start = 0
        while start < len(held):
            seconds = np.cumsum([item.segment.seconds for item in held[start:]])
            fits = max(1, int(np.searchsorted(seconds, self.most_seconds[spec.name], side="right")))
            batch = held[start:] if spec.whole_recordings else held[start : start + fits]
            start += len(batch)
            mark = f"{spec.name} {doing.batches}"
            doing.batches += 1
            batch, deadly = self.without_deadly(spec, transform, batch, mark, doing)
            yield from deadly
            clips = [item.clip_for(spec) for item in batch]
            doing.heard(spec.name, sum(item.segment.seconds for item in batch))
            with doing.attempts.mark(mark):
                done = self.timed(spec.name, doing, lambda c=clips: self.apply(spec, transform, c))  # type: ignore[misc]
            yield from zip(batch, done, strict=True)

    def without_deadly(
        self, spec: TransformSpec, transform: Transform, batch: list[Held], mark: str, doing: Work
    ) -> tuple[list[Held], list[tuple[Held, Rejected]]]:
        """After a worker died in this batch: try each clip alone, and leave out the ones that kill.

        The batch then runs as a whole, as it would have done: who was killed for no fault of the clips gets the same.
        """
        if doing.attempts.strikes[mark] < ISOLATE:
            return batch, []
        fine, deadly = [], []
        for item in batch:
            alone = f"{mark} {item.segment.key}"
            if doing.attempts.strikes[alone] >= GIVE_UP_CLIP:
                why = f"failed:crash: it killed a worker while {spec.name} had it alone in hand"
                deadly.append((item, Rejected(segment=item.segment, reason=why)))
                continue
            with doing.attempts.mark(alone):
                self.apply(spec, transform, [item.clip_for(spec)])
            fine.append(item)
        return fine, deadly

    def keep(self, item: Held, doing: Work, fate: Fate) -> None:
        """Encode the waveforms of a segment into the unit's sound, and note where they lie."""
        sounds = self.timed("encode", doing, lambda: self.placed(item, doing))
        fate = replace(fate, sounds=sounds, arrays=self.placed_arrays(item, doing))
        if fate.status == "ready":
            doing.result.fates.append(fate)
        else:
            doing.fate(fate)

    def placed(self, item: Held, doing: Work) -> tuple[Sound, ...]:
        """Where the waveforms lie; what is stored stays where it is, unless this unit gets a file of its own."""
        found = list(item.stored)
        for by, wave_S in item.made:
            if by not in {sound.by for sound in item.stored}:
                flac = flac_of(wave_S, rate_hz=item.segment.rate_hz)
                found.append(Sound(by, doing.put(flac), len(flac)))
        return tuple(found)

    def placed_arrays(self, item: Held, doing: Work) -> tuple[Array, ...]:
        """Where the arrays lie."""
        return tuple(
            held if isinstance(held, Array) else Array(name, held[0], doing.put(held[1]), len(held[1]))
            for name, held in sorted(item.arrays.items())
        )

    def apply(self, spec: TransformSpec, transform: Transform, clips: list[Clip]) -> list[Clip | Rejected]:
        """One outcome a clip, in order, whatever one of them makes the transform raise."""
        return outcomes_of(transform, clips, name=spec.name, limits=self.most_seconds)

    def timed(self, name: str, doing: Work, call: Callable[[], Any]) -> Any:
        """What `call` returns, its time added to the costs of `name`, also to those on a GPU where it runs on one."""
        spec = self.specs.get(name)
        return doing.timed(name, call, on_gpu=spec is not None and "cuda" in str(spec.settings.get("device", "")))
