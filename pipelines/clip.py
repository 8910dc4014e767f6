"""What transforms take and give, inside one worker: a segment with its waveform, a decoded recording, or a reason."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.row import Recording, Segment, Wave


def whole_samples(wave_S: Wave) -> Wave:
    """The samples as 16 bits hold them: whole numbers, rounded, and clipped at full scale."""
    whole = np.multiply(wave_S, np.float32(32768), dtype=np.float32)  # exact in 32 bits: a power of two
    np.rint(whole, out=whole)
    np.clip(whole, -32768, 32767, out=whole)
    return whole


def resampled(wave_S: Wave, *, rate_hz: int, to_hz: int) -> Wave:
    """The waveform at another rate (soxr, high quality), float32; itself, where it has that rate."""
    if rate_hz == to_hz:
        return wave_S
    import soxr

    made_S: Wave = soxr.resample(wave_S, rate_hz, to_hz).astype(np.float32)
    return made_S


@dataclass
class Clip:
    """A segment and its waveform, mono float32 at the segment's native rate; lives inside one worker only."""

    segment: Segment
    wave_S: Wave
    views: dict[int, Wave] = field(default_factory=dict, repr=False)
    arrays: "dict[str, NDArray[Any]]" = field(default_factory=dict, repr=False)
    """What transforms made of the waveform beside facts, by name: `latent`. They go with the sound, into no row."""

    def with_(self, wave_S: Wave | None = None, **facts: Any) -> "Clip":
        """A clip with more facts in its segment; with another waveform where one is given: then the views are made
        anew, and the arrays, which were made of the old one, are gone."""
        segment = self.segment.having(facts)
        return Clip(segment, self.wave_S, self.views, self.arrays) if wave_S is None else Clip(segment, wave_S)

    def with_array(self, name: str, array: "NDArray[Any]") -> "Clip":
        """A clip with one more array."""
        return Clip(self.segment, self.wave_S, self.views, {**self.arrays, name: array})

    def at(self, rate_hz: int) -> Wave:
        """The waveform at another rate (soxr, high quality), made once."""
        if rate_hz not in self.views:
            self.views[rate_hz] = resampled(self.wave_S, rate_hz=self.segment.rate_hz, to_hz=rate_hz)
        return self.views[rate_hz]

    def fitted(self, wave_S: Wave, *, rate_hz: int) -> Wave:
        """A waveform that was made from this clip at another rate, at the clip's own rate and exact length."""
        wave_S, length = resampled(wave_S, rate_hz=rate_hz, to_hz=self.segment.rate_hz), len(self.wave_S)
        return np.pad(wave_S, (0, max(0, length - len(wave_S))))[:length].astype(np.float32)


@dataclass(frozen=True)
class Turn:
    """An interval in which one voice speaks, in seconds from the start of the decoded waveform."""

    start_seconds: float
    end_seconds: float
    voice: str
    """Local to the recording: `0`, `1`, ... in order of appearance."""


@dataclass
class Decoded:
    """A recording and its waveform, mono float32, inside one worker only: what `probe` makes and `segment` takes."""

    recording: Recording
    """With `sha256` of the file's bytes."""
    wave_S: Wave
    rate_hz: int
    """Native rate, or 48000 where the native rate is higher."""
    channels: int
    """Of the file; `wave_S` is their mean, or one of them: `channel`."""
    offset_samples: int = 0
    """Where `wave_S` begins in the recording: above 0 where the corpus gives an interval of the file."""
    channel: int | None = None
    """As in Segment, like the next."""
    gain: float | None = None
    turns: "tuple[Turn, ...] | None" = None
    """Who speaks when, in order of their starts, where `diarize` has run; turns of different voices may overlap."""


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """What a transform returns in place of a clip it cannot go on with: a fact for the ledger, not an exception."""

    segment: Segment
    reason: str
    """`class:detail`, class one of dropped, failed: `dropped:no_speech`, `failed:decode: ...`."""


@dataclass(frozen=True, kw_only=True)
class Unusable:
    """What `probe` or `segment` returns in place of a recording: nothing of it can become a segment."""

    recording: Recording
    reason: str
    """As in `Rejected`."""
    seconds: float
    """Duration as far as it is known (0 where the header cannot be read): hours are conserved by it."""


class Transform(Protocol):
    """What a file of pipelines/transforms exposes as `Transform`, beside its `Config`; made once a worker.

    The file also states SETS, the fields that it writes; READS, the fields of other transforms that it looks at (all
    others are None when it runs); and CHANGES_WAVE, whether it may replace the waveform. From these follows what has to
    run again when a transform changes: itself, and those that read what it sets.

    Making it is cheap (models load on the first call) but finds out that weights are missing: then it raises
    `models.frozen.WeightsError`, and the job stops with its sentence. An attribute `fingerprint: str`, where there is
    one, says which weights it uses; it is part of the resume key, beside the settings and the source code.
    `probe` (recordings to `Decoded`), `diarize` (`Decoded` to `Decoded` with turns) and `segment` (`Decoded` to clips)
    have signatures of their own; all others get the clips of whole recordings, of one recording or of many. A batch is
    bounded in audio-seconds by the chain, and halved where memory does not suffice.
    """

    def __call__(self, clips: Sequence[Clip]) -> list["Clip | Rejected"]:
        """One result a clip, in order. Sets only the fields that are `by` this transform, with `clip.with_(...)`.

        A clip that cannot be worked on becomes `Rejected`. A ValueError, ArithmeticError, LookupError or RuntimeError
        is blamed on the clip that raised it (the batch is repeated clip by clip); any other exception stops the job.
        """
