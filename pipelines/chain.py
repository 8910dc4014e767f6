"""The chain of transforms over one unit, in one process: audio is decoded once and never leaves it. No Ray here.

What an earlier chain has found out about the unit, and this one would find out again, is taken over (pipelines.reuse):
only transforms whose fingerprint differs run, on the stored sound, which is bit for bit what they would have heard.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from infra.manifest import resolve
from pipelines.attempts import GIVE_UP_CLIP, GIVE_UP_RECORDING, ISOLATE, Attempts
from pipelines.ledger import Array, Fate, RecordingFact, Sound, UnitResult, load, result_path, save
from pipelines.manifest import CorpusManifest
from pipelines.packing.writer import flac_of, npy_of
from pipelines.recipe import Step, fingerprint_of, recipe
from pipelines.reuse import Earlier, Known, reusable
from pipelines.row import Clip, Decoded, Recording, Rejected, Segment, Unusable, Wave, as_row
from pipelines.units import Unit

BLAMED = (ValueError, ArithmeticError, LookupError, RuntimeError, MemoryError, EOFError)
"""Errors that a clip may cause; all others are ours, and stop the job."""
BATCH_SECONDS = 300.0
"""Audio that is worked on at a time: bounds the memory of a worker."""
LEAST_BATCH_SECONDS = 1.0

Transform = Callable[[Sequence[Clip]], list[Clip | Rejected]]


@dataclass
class Held:
    """A segment on its way through the chain, with every waveform that it has had."""

    segment: Segment
    made: list[tuple[str, Wave]] = field(default_factory=list)
    """Transform -> the waveform that it made, in this run."""
    stored: tuple[Sound, ...] = ()
    """Waveforms that an earlier chain has stored, of the transforms in `taken_over`."""
    arrays: dict[str, "Array | tuple[str, bytes]"] = field(default_factory=dict)
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

    def clip_for(self, step: Step) -> Clip:
        """What the transform may see: fields of others that it does not read are hidden."""
        hidden: dict[str, Any] = dict.fromkeys(step.hides)
        return Clip(replace(self.segment, **hidden), self.wave(), self.views)


@dataclass
class Work:
    """What a unit has given so far, while its chain runs."""

    result: UnitResult
    attempts: Attempts
    sound: bytearray = field(default_factory=bytearray)
    earlier: Earlier | None = None
    batches: int = 0

    def put(self, data: bytes) -> int:
        """Append to the unit's sound; returns where. What an earlier chain has stored keeps its place before it."""
        if self.earlier is not None and not self.sound:
            self.sound += self.earlier.sound.read_bytes()
        self.sound += data
        return len(self.sound) - len(data)

    def fate(self, fate: Fate) -> None:
        """Note what became of something, under the transform that decided it."""
        self.result.fates.append(fate)
        self.count(fate.transform, fate.status)

    def count(self, transform: str, status: str) -> None:
        """One item left the transform."""
        counts = self.result.counts.setdefault(transform, {"ok": 0, "dropped": 0, "failed": 0})
        counts[status if status in counts else "ok"] += 1


class Chain:
    """The transforms of a manifest, made once a worker, and the work of running units through them."""

    def __init__(self, manifest: CorpusManifest) -> None:
        self.manifest = manifest
        modules = {entry.name: resolve("pipelines.transforms", entry.name) for entry in manifest.transforms}
        made = {entry.name: modules[entry.name].Transform(entry.settings) for entry in manifest.transforms}
        weights = {name: str(getattr(transform, "fingerprint", "")) for name, transform in made.items()}
        self.steps = recipe(manifest, weights=weights)
        self.probe, self.segment = made.pop("probe"), made.pop("segment")
        self.diarize = made.pop("diarize", None)
        self.rest: dict[str, Transform] = made
        self.most_seconds = dict.fromkeys(made, BATCH_SECONDS)
        """Transform -> seconds of audio in a batch; halved, for good, when memory does not suffice."""

    @property
    def fingerprints(self) -> dict[str, str]:
        """Transform -> fingerprint."""
        return {name: step.fingerprint for name, step in self.steps.items()}

    @property
    def fingerprint(self) -> str:
        """Of the whole chain."""
        return fingerprint_of(self.steps)

    def run_unit(self, unit: Unit, work: Path, *, earlier: Path | None = None) -> UnitResult | None:
        """Do a unit and make it final; None where it was. `earlier`: its result by another chain, to take over from."""
        chain = self.fingerprint
        if result_path(work, unit=unit.id, chain=chain).is_file():
            return None
        with Attempts(work, unit=unit.id, chain=chain) as attempts:
            doing = Work(UnitResult(unit=unit.id, chain=chain, fingerprints=self.fingerprints), attempts)
            doing.earlier = reusable(load(earlier), self.steps, sound=earlier.with_suffix(".flac")) if earlier else None
            if doing.earlier is not None:
                self.take_over(doing, doing.earlier)
            else:
                self.run_recordings(unit.recordings, doing)
            save(work, doing.result, self.sound_of(doing))
        return doing.result

    def sound_of(self, doing: Work) -> bytearray | Path:
        """The unit's sound: the earlier file where no waveform is new."""
        earlier = doing.earlier
        return doing.sound if earlier is None or doing.sound else earlier.sound

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
            self.give_up(Unusable(recording=recording, reason=why, seconds=0.0), "probe", doing)
            return []
        with doing.attempts.mark(mark):
            return self.cut(recording, doing)

    def cut(self, recording: Recording, doing: Work) -> list[Held]:
        """Decode, find who speaks when, and cut."""
        decoded = self.timed("probe", doing, lambda: blamed(lambda: self.probe([recording])[0], recording))
        if isinstance(decoded, Unusable):
            self.give_up(decoded, "probe", doing)
            return []
        doing.count("probe", "ok")
        seconds = len(decoded.wave_S) / decoded.rate_hz
        self.heard("probe", seconds, doing)
        for name in ("diarize", "segment") if self.diarize else ("segment",):
            call = self.diarize if name == "diarize" else self.segment
            found = self.timed(name, doing, lambda c=call, d=decoded: blamed(lambda: c(d), recording, seconds))  # type: ignore[misc]
            self.heard(name, seconds, doing)
            if isinstance(found, Unusable):
                self.give_up(found, name, doing)
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
            step, going_on = self.steps[name], []
            taken = taken_over(held, step, doing.earlier)
            left = [item for item in held if id(item) not in taken]
            outcomes = {id(item): outcome for item, outcome in self.outcomes(step, transform, left, doing)}
            for item in held:
                reason = taken[id(item)] if id(item) in taken else settle(item, outcomes[id(item)], step)
                if reason is None:
                    doing.count(name, "ok")
                    going_on.append(item)
                else:
                    self.keep(item, doing, fate_of(item.segment, transform=name, reason=reason))
            held = going_on
        for item in held:
            self.keep(item, doing, fate_of(item.segment, transform=list(self.steps)[-1], reason=None))

    def outcomes(
        self, step: Step, transform: Transform, held: list[Held], doing: Work
    ) -> Iterator[tuple[Held, Clip | Rejected]]:
        """The transform over the segments, in batches bounded in seconds; clips that killed workers are left out."""
        start = 0
        while start < len(held):
            seconds = np.cumsum([item.segment.seconds for item in held[start:]])
            fits = max(1, int(np.searchsorted(seconds, self.most_seconds[step.name], side="right")))
            batch = held[start:] if step.whole_recordings else held[start : start + fits]
            start += len(batch)
            mark = f"{step.name} {doing.batches}"
            doing.batches += 1
            batch, deadly = self.without_deadly(step, transform, batch, mark, doing)
            yield from deadly
            clips = [item.clip_for(step) for item in batch]
            self.heard(step.name, sum(item.segment.seconds for item in batch), doing)
            with doing.attempts.mark(mark):
                done = self.timed(step.name, doing, lambda c=clips: self.apply(step.name, transform, c))  # type: ignore[misc]
            yield from zip(batch, done, strict=True)

    def without_deadly(
        self, step: Step, transform: Transform, batch: list[Held], mark: str, doing: Work
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
                why = f"failed:crash: it killed a worker while {step.name} had it alone in hand"
                deadly.append((item, Rejected(segment=item.segment, reason=why)))
                continue
            with doing.attempts.mark(alone):
                self.apply(step.name, transform, [item.clip_for(step)])
            fine.append(item)
        return fine, deadly

    def apply(self, name: str, transform: Transform, clips: list[Clip]) -> list[Clip | Rejected]:
        """The transform over the clips; where it raises, over parts of them, to find the guilty.

        Where memory does not suffice, batches are half as long from then on.
        """
        if not clips:
            return []
        try:
            outcomes = transform(clips)
        except BLAMED as error:
            short = out_of_memory(error)
            if len(clips) == 1:
                why = "memory: not enough for this clip alone" if short else sentence(error)
                return [Rejected(segment=clips[0].segment, reason=f"failed:{why}")]
            if short:
                seconds = sum(clip.segment.seconds for clip in clips)
                self.most_seconds[name] = max(min(self.most_seconds[name], seconds) / 2, LEAST_BATCH_SECONDS)
            return [outcome for part in parts(clips, halve=short) for outcome in self.apply(name, transform, part)]
        assert len(outcomes) == len(clips), f"{name} returned {len(outcomes)} results for {len(clips)} clips"
        return outcomes

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

    def give_up(self, unusable: Unusable, transform: str, doing: Work) -> None:
        """A recording that gives nothing."""
        status, reason = split(unusable.reason)
        recording = unusable.recording
        doing.result.recordings.append(RecordingFact(recording.name, unusable.seconds, 0))
        doing.fate(
            Fate(
                recording=recording.name,
                seconds=unusable.seconds,
                status=status,
                transform=transform,
                reason=reason,
                language=recording.language,
                license=recording.license,
                source=recording.source,
            )
        )

    def heard(self, name: str, seconds: float, doing: Work) -> None:
        """The transform was run on so much audio."""
        doing.result.audio_seconds[name] = doing.result.audio_seconds.get(name, 0.0) + seconds

    def timed(self, name: str, doing: Work, call: Callable[[], Any]) -> Any:
        """What `call` returns, its time added to the costs of `name`."""
        wall, cpu = time.monotonic(), time.process_time()
        try:
            return call()
        finally:
            result, spent = doing.result, time.monotonic() - wall
            result.wall_seconds[name] = result.wall_seconds.get(name, 0.0) + spent
            result.cpu_seconds[name] = result.cpu_seconds.get(name, 0.0) + time.process_time() - cpu
            if "cuda" in str(self.steps[name].settings.get("device", "") if name in self.steps else ""):
                result.gpu_seconds[name] = result.gpu_seconds.get(name, 0.0) + spent


def settle(item: Held, outcome: Clip | Rejected, step: Step) -> str | None:
    """Take from an outcome what its transform may say; the reason where it rejects the segment."""
    item.segment = replace(item.segment, **{name: getattr(outcome.segment, name) for name in step.sets})
    if isinstance(outcome, Rejected):
        return outcome.reason
    item.arrays |= {name: (step.name, npy_of(array)) for name, array in outcome.arrays.items()}
    before = item.wave()
    if outcome.wave_S is not before:
        assert step.changes_wave, f"{step.name} changed a waveform, but does not say CHANGES_WAVE"
        assert len(outcome.wave_S) == len(before), f"{step.name} changed the length of a clip"
        item.hear(quantized(outcome.wave_S), by=step.name)
    return None


def taken_over(held: Sequence[Held], step: Step, earlier: Earlier | None) -> dict[int, str | None]:
    """Segments (by id) for which an earlier chain has run this very transform -> the reason where it rejected them.

    A transform may look at the clips of a recording together, so a recording is taken over whole or not at all: only
    where the segments that reach the transform are those that reached it then.
    """
    if earlier is None or step.name not in earlier.same:
        return {}
    groups: dict[str, list[Held]] = {}
    for item in held:
        groups.setdefault(item.segment.recording_sha256, []).append(item)
    found: dict[int, str | None] = {}
    for sha256, group in groups.items():
        if {item.segment.key for item in group} != earlier.reached(step.name, sha256):
            continue
        for item in group:
            assert item.known is not None
            item.segment = replace(item.segment, **item.known.facts(step.sets))
            made = [sound for sound in item.known.sounds if sound.by == step.name]
            if made:
                item.stored, item.made, item.views = (*item.stored, *made), [], {}
            item.arrays |= {array.name: array for array in item.known.fate.arrays if array.by == step.name}
            found[id(item)] = item.known.reason_by(step.name)
    return found


def quantized(wave_S: Wave) -> Wave:
    """The waveform as 16-bit FLAC will give it back: what is measured is what is stored, to the last bit."""
    whole = np.clip(np.rint(wave_S * np.float32(32768)), -32768, 32767)
    return np.asarray(whole, dtype=np.float32) / np.float32(32768)


def parts(clips: list[Clip], *, halve: bool) -> list[list[Clip]]:
    """Smaller batches: halves, or the first recording and the rest, or single clips."""
    if halve:
        return [clips[: len(clips) // 2], clips[len(clips) // 2 :]]
    first = [clip for clip in clips if clip.segment.recording == clips[0].segment.recording]
    if len(first) == len(clips):
        return [[clip] for clip in clips]
    assert clips[: len(first)] == first, "the clips of a recording come together"
    return [first, clips[len(first) :]]


def out_of_memory(error: BaseException) -> bool:
    """Is it the machine's memory, or the accelerator's, that does not suffice?"""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def blamed(call: Callable[[], Any], recording: Recording, seconds: float = 0.0) -> Any:
    """What `call` returns; `Unusable` where the recording makes it raise."""
    try:
        return call()
    except BLAMED as error:
        why = "memory: not enough for this recording" if out_of_memory(error) else sentence(error)
        return Unusable(recording=recording, reason=f"failed:{why}", seconds=seconds)


def sentence(error: BaseException) -> str:
    """`error: ValueError: what it says`, on one line and not too long."""
    return f"error: {type(error).__name__}: {' '.join(str(error).split())}"[:300]


def split(reason: str) -> tuple[str, str]:
    """`dropped:no_speech: why` -> status and reason."""
    status, _, detail = reason.partition(":")
    assert status in ("dropped", "failed"), f"a reason begins with dropped: or failed:, but is {reason!r}"
    return status, detail


def rest_of(decoded: Decoded, seconds: float) -> Fate:
    """The part of a recording that is in no segment: pauses, and what is not speech."""
    return Fate(
        recording=decoded.recording.name,
        seconds=seconds,
        status="dropped",
        transform="segment",
        reason="between: not speech, or the pauses around it",
        language=decoded.recording.language,
        license=decoded.recording.license,
        source=decoded.recording.source,
    )


def fate_of(segment: Segment, *, transform: str, reason: str | None) -> Fate:
    """What became of a segment: ready to be selected, or the reason why not."""
    status, why = split(reason) if reason else ("ready", None)
    return Fate(
        recording=segment.recording,
        seconds=segment.seconds,
        status=status,
        transform=transform,
        reason=why,
        language=segment.language or segment.given_language,
        license=segment.license,
        source=segment.source,
        segment=as_row(segment),
    )
