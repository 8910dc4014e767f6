"""What a unit has given so far, while its chain runs: fates, sound, counts and costs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.attempts import Attempts
from pipelines.clip import Decoded, Unusable
from pipelines.ledger import Fate, RecordingFact, UnitResult
from pipelines.reuse import Earlier
from pipelines.row import Segment, as_row
from pipelines.sealing import SoundFile


@dataclass
class Work:
    """What a unit has given so far, while its chain runs."""

    result: UnitResult
    attempts: Attempts
    sound: SoundFile
    earlier: Earlier | None = None
    batches: int = 0

    def put(self, data: bytes) -> int:
        """Append to the unit's sound; returns where. What an earlier chain has stored keeps its place before it."""
        if self.earlier is not None and not self.sound.size:
            self.sound.put(self.earlier.sound.read_bytes())
        return self.sound.put(data)

    @property
    def final_sound(self) -> SoundFile | Path:
        """Where the unit's sound lies: in the earlier file where no waveform is new."""
        return self.sound if self.earlier is None or self.sound.size else self.earlier.sound

    def fate(self, fate: Fate) -> None:
        """Note what became of something, under the transform that decided it."""
        self.result.fates.append(fate)
        self.count(fate.transform, fate.status)

    def count(self, transform: str, status: str) -> None:
        """One item left the transform."""
        counts = self.result.counts.setdefault(transform, {"ok": 0, "dropped": 0, "failed": 0})
        counts[status if status in counts else "ok"] += 1

    def give_up(self, unusable: Unusable, *, transform: str) -> None:
        """A recording that gives nothing."""
        status, reason = split(unusable.reason)
        recording = unusable.recording
        self.result.recordings.append(RecordingFact(recording.name, unusable.seconds, 0))
        self.fate(
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

    def heard(self, name: str, seconds: float) -> None:
        """The transform was run on so much audio."""
        self.result.audio_seconds[name] = self.result.audio_seconds.get(name, 0.0) + seconds

    @contextmanager
    def timed(self, name: str, *, on_gpu: bool = False) -> Iterator[None]:
        """Add the time of what is done inside to the costs of `name`."""
        wall, cpu = time.monotonic(), time.process_time()
        try:
            yield
        finally:
            result, spent = self.result, time.monotonic() - wall
            result.wall_seconds[name] = result.wall_seconds.get(name, 0.0) + spent
            result.cpu_seconds[name] = result.cpu_seconds.get(name, 0.0) + time.process_time() - cpu
            if on_gpu:
                result.gpu_seconds[name] = result.gpu_seconds.get(name, 0.0) + spent


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
