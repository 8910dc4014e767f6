"""Whose voice it is, and whether it is one voice: vectors of windows in the clip, and clusters of clips."""

from collections import defaultdict

import numpy as np
from pydantic import Field

from pipelines.clip import Clip, Rejected
from pipelines.hearing.clustering import Vectors, linked, split_gain, unit
from pipelines.hearing.embedders import EmbedderConfig, embedder_of
from pipelines.row import Segment, Wave

SETS = ("speaker", "speaker_by", "speaker_cosine_mean", "speaker_cosine_min", "speaker_split_gain", "xvector")
READS: tuple[str, ...] = ("turn",)
CHANGES_WAVE = False
WHOLE_RECORDINGS = True


class Config(EmbedderConfig):
    window_seconds: float = Field(default=1.5, gt=0)
    hop_seconds: float = Field(default=0.75, gt=0)
    quiet_db: float = Field(default=25.0, gt=0)
    """Windows this far below the loudest one hold no voice to compare."""
    same_cosine: float | None = Field(default=None, ge=-1, le=1)
    """Clips of a recording join one cluster while their mean cosine is above this; None for the embedder's own."""


class Transform:
    """Sets the voice's vector, how much it varies inside the clip, and the speaker."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.model = embedder_of(cfg)
        self.same_cosine = self.model.SAME_COSINE if cfg.same_cosine is None else cfg.same_cosine
        self.fingerprint = self.model.fingerprint

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order. Clips of one recording that come together are clustered together."""
        done = [self.one(clip) for clip in clips]
        names = speakers([item.segment for item in done if isinstance(item, Clip)], same_cosine=self.same_cosine)
        return [item.with_(speaker=names[item.segment.key]) if isinstance(item, Clip) else item for item in done]

    def one(self, clip: Clip) -> Clip | Rejected:
        """All but the speaker: the mean vector, the spread of the windows about it, and the best split in two."""
        wave_S = clip.at(self.model.RATE_HZ)
        if not wave_S.size or not np.abs(wave_S).max() > 0:
            return Rejected(segment=clip.segment, reason="dropped:empty")
        size, split = (self.cfg.window_seconds, self.cfg.hop_seconds), self.model.SPLIT
        vectors = self.vectors(wave_S, *size)
        again = (split.window_seconds, split.hop_seconds) != size
        others = self.vectors(wave_S, split.window_seconds, split.hop_seconds) if again else vectors
        mean = unit(vectors.mean(axis=0))
        cosines = vectors @ mean
        many = len(vectors) > 1
        gain = split_gain(others, spread=split.spread) / split.limit if len(others) > 1 else 0.0
        return clip.with_(
            xvector=tuple(round(float(value), 6) for value in mean),
            speaker_by=self.cfg.embedder,
            speaker_cosine_mean=round(float(cosines.mean()), 4) if many else None,
            speaker_cosine_min=round(float(cosines.min()), 4) if many else None,
            speaker_split_gain=round(gain, 4) if len(others) > 1 else None,
        )

    def vectors(self, wave_S: Wave, window_seconds: float, hop_seconds: float) -> Vectors:
        """One unit vector for each window with a voice in it."""
        window, hop = round(window_seconds * self.model.RATE_HZ), round(hop_seconds * self.model.RATE_HZ)
        found = self.model.windows(wave_S, window=window, hop=hop)
        starts = np.minimum(np.arange(len(found)) * hop, max(0, len(wave_S) - window))
        power = np.array([wave_S[start : start + window].var(dtype=np.float64) for start in starts])
        loud: Vectors = found[power >= power.max() * 10 ** (-self.cfg.quiet_db / 10)]
        return loud


def speakers(segments: list[Segment], *, same_cosine: float) -> dict[str, str]:
    """Key -> speaker: as given, else the voice of its turn, else the cluster of voices of its recording.

    Clusters are numbered in order of appearance, as turns are.
    """
    names: dict[str, str] = {}
    by_recording: dict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        if segment.given_speaker:
            names[segment.key] = segment.given_speaker
        elif segment.turn is not None:
            names[segment.key] = f"{segment.recording_sha256[:12]}-{segment.turn}"
        else:
            by_recording[segment.recording_sha256].append(segment)
    for sha256, members in by_recording.items():
        members = sorted(members, key=lambda segment: (segment.start_sample, segment.end_sample))
        labels = linked(np.array([segment.xvector for segment in members]), same_cosine=same_cosine)
        order: dict[int, int] = {}
        for segment, label in zip(members, labels, strict=True):
            names[segment.key] = f"{sha256[:12]}-{order.setdefault(label, len(order))}"
    return names
