"""Whose voice it is, and whether it is one voice: vectors of windows in the clip, and clusters of clips."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infra.manifest import Manifest
from models.frozen.resemblyzer import Resemblyzer
from pipelines.row import Clip, Rejected, Segment, Wave
from pipelines.transforms import fingerprint_of

SETS = ("speaker", "speaker_cosine_mean", "speaker_cosine_min", "speaker_split_gain", "xvector")

Vectors = NDArray[np.float32]


class Config(Manifest):
    window_seconds: float = Field(default=1.5, gt=0)
    hop_seconds: float = Field(default=0.75, gt=0)
    quiet_db: float = Field(default=25.0, gt=0)
    """Windows this far below the loudest one hold no voice to compare."""
    same_cosine: float = Field(default=0.72, ge=-1, le=1)
    """Clips of a recording join one cluster while their mean cosine is above this."""


class Transform:
    """Sets the voice's vector, how much it varies inside the clip, and the speaker."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.model = Resemblyzer()
        self.fingerprint = fingerprint_of(__file__, cfg=cfg, backends=[self.model.fingerprint])

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order. Clips of one recording that come together are clustered together."""
        done: list[Clip | Rejected] = []
        for clip in clips:
            vectors = self.vectors(clip.at(self.model.RATE_HZ))
            done.append(
                Rejected(segment=clip.segment, reason="dropped:empty") if vectors is None else spread(clip, vectors)
            )
        names = speakers([item.segment for item in done if isinstance(item, Clip)], same_cosine=self.cfg.same_cosine)
        return [item.with_(speaker=names[item.segment.key]) if isinstance(item, Clip) else item for item in done]

    def vectors(self, wave_S: Wave) -> Vectors | None:
        """One unit vector for each window with a voice in it; None for silence or nothing."""
        if not wave_S.size or not np.abs(wave_S).max() > 0:
            return None
        window, hop = (round(s * self.model.RATE_HZ) for s in (self.cfg.window_seconds, self.cfg.hop_seconds))
        found = self.model.windows(wave_S, window=window, hop=hop)
        starts = np.minimum(np.arange(len(found)) * hop, max(0, len(wave_S) - window))
        power = np.array([np.square(wave_S[start : start + window], dtype=np.float64).mean() for start in starts])
        loud: Vectors = found[power >= power.max() * 10 ** (-self.cfg.quiet_db / 10)]
        return loud


def spread(clip: Clip, vectors: Vectors) -> Clip:
    """The mean vector, and the spread of the windows about it; no spread for a single window."""
    mean = unit(vectors.mean(axis=0))
    cosines = vectors @ mean
    many = len(vectors) > 1
    return clip.with_(
        xvector=tuple(round(float(value), 6) for value in mean),
        speaker_cosine_mean=round(float(cosines.mean()), 4) if many else None,
        speaker_cosine_min=round(float(cosines.min()), 4) if many else None,
        speaker_split_gain=round(split_gain(vectors), 4) if many else None,
    )


def unit(vector: Vectors) -> Vectors:
    """The vector at length 1."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), dtype=np.float32)


def split_gain(vectors: Vectors, *, rounds: int = 10) -> float:
    """How much nearer the windows lie to the centers of two clusters than to one: about 0 for one voice.

    Spherical 2-means from the pair that lies farthest apart; the mean cosine to the own center, less that to the mean.
    """
    similarity = vectors @ vectors.T
    first, second = np.unravel_index(int(similarity.argmin()), similarity.shape)
    centers = vectors[[first, second]]
    for _ in range(rounds):
        nearest = (vectors @ centers.T).argmax(axis=1)
        if len(np.unique(nearest)) < 2:
            return 0.0
        centers = np.stack([unit(vectors[nearest == side].mean(axis=0)) for side in (0, 1)])
    own = (vectors @ centers.T).max(axis=1).mean()
    return float(own - (vectors @ unit(vectors.mean(axis=0))).mean())


def speakers(segments: list[Segment], *, same_cosine: float) -> dict[str, str]:
    """Key -> speaker: as given, else the cluster of voices of its recording, numbered in order of appearance."""
    names: dict[str, str] = {}
    by_recording: dict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        if segment.given_speaker:
            names[segment.key] = segment.given_speaker
        else:
            by_recording[segment.recording_sha256].append(segment)
    for sha256, members in by_recording.items():
        members = sorted(members, key=lambda segment: (segment.start_sample, segment.end_sample))
        labels = clusters(np.array([segment.xvector for segment in members]), same_cosine=same_cosine)
        order: dict[int, int] = {}
        for segment, label in zip(members, labels, strict=True):
            names[segment.key] = f"{sha256[:12]}-{order.setdefault(label, len(order))}"
    return names


def clusters(vectors: NDArray[np.float64], *, same_cosine: float) -> list[int]:
    """Average-linkage clusters of unit vectors, cut where the mean cosine falls below `same_cosine`."""
    if len(vectors) < 2:
        return [0] * len(vectors)
    from scipy.cluster.hierarchy import fcluster, linkage

    tree = linkage(vectors, method="average", metric="cosine")
    return [int(label) for label in fcluster(tree, t=1 - same_cosine, criterion="distance")]
