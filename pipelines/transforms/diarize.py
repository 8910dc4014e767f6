"""Who speaks when: the turns of every voice of a recording, before it is cut into segments.

A recording of more than `part_minutes` is worked on in parts that overlap, so that memory is bounded; voices of two
parts are one where their mean embeddings say so. Pauses of a voice up to `pause_seconds` belong to its turn, as people
who mark turns see it, unless another voice speaks in them.
"""

from dataclasses import replace

from pydantic import Field

from pipelines.clip import Decoded, Turn, Unusable, resampled
from pipelines.diarizers import DiarizerConfig, diarizer_of
from pipelines.hearing.voices import FRAME, FRAME_SECONDS, RATE_HZ, Spoken, held, stitched, turns_of


class Config(DiarizerConfig):
    part_minutes: float = Field(default=30, gt=1)
    shared_seconds: float = Field(default=30, gt=0, le=60)
    """How much two parts of a long recording overlap."""
    same_cosine: float = Field(default=0.5, ge=-1, le=1)
    """Cosine of mean embeddings from which voices of two parts are one."""
    pause_seconds: float = Field(default=2.0, ge=0)
    pad_seconds: float = Field(default=0.15, ge=0)
    """Margin of every turn, but never more than half of the way to another voice."""


class Transform:
    """A decoded recording to the same one with its turns."""

    def __init__(self, cfg: Config) -> None:
        self.cfg, self.diarizer = cfg, diarizer_of(cfg)
        self.fingerprint = self.diarizer.fingerprint

    def __call__(self, decoded: Decoded) -> Decoded | Unusable:
        """The recording with its turns; none where nobody speaks, which `segment` then says."""
        wave_S, rate_hz = decoded.wave_S, decoded.rate_hz
        if not len(wave_S):
            return replace(decoded, turns=())
        parts, starts = [], []
        for start, end in parts_of(len(wave_S) / rate_hz, cfg=self.cfg):
            part_S = wave_S[round(start * rate_hz) : round(end * rate_hz)]
            spoken = self.diarizer(resampled(part_S, rate_hz=rate_hz, to_hz=RATE_HZ))
            if spoken is not None:
                parts.append(spoken)
                starts.append(round(start / FRAME_SECONDS))
        frames = -(-len(wave_S) * RATE_HZ // (rate_hz * FRAME))
        return replace(decoded, turns=self.turns(parts, starts=starts, frames=frames))

    def turns(self, parts: list[Spoken], *, starts: list[int], frames: int) -> tuple[Turn, ...]:
        """The parts as one, pauses bridged and margins added."""
        if not parts:
            return ()
        whole = stitched(parts, starts=starts, frames=frames, same_cosine=self.cfg.same_cosine)
        pause, pad = (round(seconds / FRAME_SECONDS) for seconds in (self.cfg.pause_seconds, self.cfg.pad_seconds))
        return turns_of(held(whole.active_FV, pause=pause, pad=pad))


def parts_of(seconds: float, *, cfg: Config) -> list[tuple[float, float]]:
    """Start and end of the parts of a recording; what a last part would have alone is at least what parts share."""
    longest, shared = cfg.part_minutes * 60, cfg.shared_seconds
    found, start = [], 0.0
    while seconds - start > longest + shared:
        found.append((start, start + longest))
        start += longest - shared
    return [*found, (start, seconds)]
