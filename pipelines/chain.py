"""The chain of transforms over one unit, in one process: audio is decoded once and never leaves it. No Ray here."""

import ast
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from infra.manifest import digest, resolve
from infra.storage import ROOT, file_digest
from pipelines.ledger import Attempts, Fate, RecordingFact, UnitResult, result_path, save
from pipelines.manifest import CorpusManifest
from pipelines.row import SCHEMA, Clip, Decoded, Recording, Rejected, Segment, Unusable, as_row
from pipelines.units import Unit
from pipelines.writer import flac_of

BLAMED = (ValueError, ArithmeticError, LookupError, RuntimeError, MemoryError, EOFError)
"""Errors that a clip may cause; all others are ours, and stop the job."""
BATCH_SECONDS = 300.0
"""Decoded audio that is worked on at a time: bounds the memory of a worker."""


@dataclass
class Work:
    """What a unit has given so far, while its chain runs."""

    result: UnitResult
    sound: bytearray = field(default_factory=bytearray)

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
        self.probe, self.segment, *_ = made.values()
        self.rest: dict[str, Callable[[Sequence[Clip]], list[Clip | Rejected]]] = dict(list(made.items())[2:])
        weights = {name: str(getattr(transform, "fingerprint", "")) for name, transform in made.items()}
        self.fingerprints = self.chained(weights)
        """Transform -> hash of everything that decides what leaves it, those before it included."""

    def chained(self, weights: dict[str, str]) -> dict[str, str]:
        """Each fingerprint covers settings, weights and source of its transform, and the one before."""
        before = digest([SCHEMA, self.manifest.name, source_digest("pipelines/chain.py")])
        found = {}
        for entry in self.manifest.transforms:
            code = source_digest(f"pipelines/transforms/{entry.name}.py")
            before = digest([before, entry.name, entry.settings, weights[entry.name], code])
            found[entry.name] = before[:12]
        return found

    @property
    def fingerprint(self) -> str:
        """Of the whole chain."""
        return list(self.fingerprints.values())[-1]

    def run_unit(self, unit: Unit, work: Path) -> UnitResult | None:
        """Do a unit and make it final; None where it was. After a worker died on it, one recording at a time."""
        chain = self.fingerprint
        if result_path(work, unit=unit.id, chain=chain).is_file():
            return None
        attempts = Attempts(work, unit=unit.id, chain=chain)
        doing = Work(UnitResult(unit=unit.id, chain=chain))
        if attempts.died:
            self.one_by_one(unit, attempts, doing)
        else:
            attempts.note("unit")
            self.run_recordings(unit.recordings, doing)
        save(work, doing.result, bytes(doing.sound))
        attempts.close()
        return doing.result

    def one_by_one(self, unit: Unit, attempts: Attempts, doing: Work) -> None:
        """Every recording alone, with a mark before and after, so that the one that kills can be told from the rest."""
        for number, recording in enumerate(unit.recordings):
            if number in attempts.deadly:
                why = f"failed:crash: it killed a worker {attempts.LIMIT} times while alone in hand"
                self.give_up(Unusable(recording=recording, reason=why, seconds=0.0), "probe", doing)
                continue
            attempts.note(f"begin {number}")
            self.run_recordings([recording], doing)
            attempts.note(f"end {number}")

    def run_recordings(self, recordings: Sequence[Recording], doing: Work) -> None:
        """Decode and segment one recording after another; run the other transforms whenever enough audio has come."""
        clips: list[Clip] = []
        held = 0.0
        for recording in recordings:
            found, seconds = self.clips_of(recording, doing)
            clips += found
            held += seconds
            if held >= BATCH_SECONDS:
                self.score(clips, doing)
                clips, held = [], 0.0
        self.score(clips, doing)

    def clips_of(self, recording: Recording, doing: Work) -> tuple[list[Clip], float]:
        """The clips of a recording, and its duration; what is not in a clip is a fate at once."""
        decoded = self.timed("probe", doing, lambda: blamed(lambda: self.probe([recording])[0], recording))
        if isinstance(decoded, Unusable):
            self.give_up(decoded, "probe", doing)
            return [], 0.0
        doing.count("probe", "ok")
        seconds = len(decoded.wave_S) / decoded.rate_hz
        cut = self.timed("segment", doing, lambda: blamed(lambda: self.segment(decoded), recording, seconds))
        if isinstance(cut, Unusable):
            self.give_up(cut, "segment", doing)
            return [], seconds
        pieces = [named(piece, corpus=self.manifest.name) for piece in cut.pieces]
        clips = [piece for piece in pieces if isinstance(piece, Clip)]
        inside = sum(piece.segment.seconds for piece in pieces)
        covered = sum(piece.segment.seconds * (piece.segment.speech_ratio or 0.0) for piece in pieces)
        fact = RecordingFact(recording.name, seconds, len(pieces), cut.speech_seconds, covered)
        doing.result.recordings.append(fact)
        if seconds - inside > 0.5 / decoded.rate_hz:
            doing.fate(rest_of(decoded, seconds - inside))
        for piece in pieces:
            if isinstance(piece, Rejected):
                doing.fate(fate_of(piece.segment, transform="segment", reason=piece.reason))
            else:
                doing.count("segment", "ok")
        return clips, seconds

    def score(self, clips: list[Clip], doing: Work) -> None:
        """Run the clips through the transforms that measure them, and keep the sound of all of them."""
        for name, transform in self.rest.items():
            if not clips:
                return
            outcomes = self.timed(name, doing, lambda t=transform, c=clips: apply(t, c))  # type: ignore[misc]
            going_on = []
            for clip, outcome in zip(clips, outcomes, strict=True):
                if isinstance(outcome, Rejected):
                    self.keep(clip, doing, fate_of(outcome.segment, transform=name, reason=outcome.reason))
                    continue
                assert len(outcome.wave_S) == len(clip.wave_S), f"{name} changed the length of a clip"
                doing.count(name, "ok")
                going_on.append(outcome)
            clips = going_on
        for clip in clips:
            self.keep(clip, doing, fate_of(clip.segment, transform=list(self.fingerprints)[-1], reason=None))

    def keep(self, clip: Clip, doing: Work, fate: Fate) -> None:
        """Encode the sound of a clip into the unit's file, and note where it lies."""
        flac = self.timed("encode", doing, lambda: flac_of(clip.wave_S, rate_hz=clip.segment.rate_hz))
        placed = replace(fate, offset=len(doing.sound), flac_bytes=len(flac))
        doing.sound += flac
        if placed.status == "ready":
            doing.result.fates.append(placed)
        else:
            doing.fate(placed)

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
            )
        )

    def timed(self, name: str, doing: Work, call: Callable[[], Any]) -> Any:
        """What `call` returns, its time added to the costs of `name`."""
        wall, cpu = time.monotonic(), time.process_time()
        try:
            return call()
        finally:
            result = doing.result
            result.wall_seconds[name] = result.wall_seconds.get(name, 0.0) + time.monotonic() - wall
            result.cpu_seconds[name] = result.cpu_seconds.get(name, 0.0) + time.process_time() - cpu


def apply(transform: Callable[[Sequence[Clip]], list[Clip | Rejected]], clips: list[Clip]) -> list[Clip | Rejected]:
    """The transform over the clips; where it raises, recording by recording, then clip by clip, to find the guilty."""
    try:
        outcomes = transform(clips)
    except BLAMED as error:
        if len(clips) == 1:
            return [Rejected(segment=clips[0].segment, reason=f"failed:{sentence(error)}")]
        first = clips[0].segment.recording
        parts = [[clip for clip in clips if (clip.segment.recording == first) is same] for same in (True, False)]
        if not parts[1]:
            parts = [[clip] for clip in clips]
        done = {id(clip): out for part in parts for clip, out in zip(part, apply(transform, part), strict=True)}
        return [done[id(clip)] for clip in clips]
    assert len(outcomes) == len(clips), f"{transform} returned {len(outcomes)} results for {len(clips)} clips"
    return outcomes


def blamed(call: Callable[[], Any], recording: Recording, seconds: float = 0.0) -> Any:
    """What `call` returns; `Unusable` where the recording makes it raise."""
    try:
        return call()
    except BLAMED as error:
        return Unusable(recording=recording, reason=f"failed:{sentence(error)}", seconds=seconds)


def sentence(error: BaseException) -> str:
    """`error: ValueError: what it says`, on one line and not too long."""
    return f"error: {type(error).__name__}: {' '.join(str(error).split())}"[:300]


def split(reason: str) -> tuple[str, str]:
    """`dropped:no_speech: why` -> status and reason."""
    status, _, detail = reason.partition(":")
    assert status in ("dropped", "failed"), f"a reason begins with dropped: or failed:, but is {reason!r}"
    return status, detail


def named(piece: Clip | Rejected, *, corpus: str) -> Clip | Rejected:
    """The piece, as one of this corpus."""
    segment = replace(piece.segment, corpus=corpus)
    return Clip(segment, piece.wave_S) if isinstance(piece, Clip) else replace(piece, segment=segment)


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
        segment=as_row(segment),
    )


@cache
def source_digest(path: str) -> str:
    """Hash of a source file of ours and of all of ours that it imports: code that decides a result."""
    seen: dict[str, str] = {}
    waiting = [path]
    while waiting:
        at = waiting.pop()
        if at not in seen:
            seen[at] = file_digest(ROOT / at)
            waiting += imported(ROOT / at)
    return digest(seen)


def imported(file: Path) -> Iterable[str]:
    """Files of models/ and pipelines/ that a source file imports, at its top or inside its functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [f"{node.module}.{item.name}" for item in node.names] if isinstance(node, ast.ImportFrom) else []
        names += [item.name for item in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            path = Path(*name.split("."))
            if path.parts[0] in ("models", "pipelines"):
                choices = (path.with_suffix(".py"), path / "__init__.py")
                yield from (choice.as_posix() for choice in choices if (ROOT / choice).is_file())
