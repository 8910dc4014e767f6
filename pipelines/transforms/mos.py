"""How good it sounds: DNSMOS P.835, heard at one level so that quiet is not bad. It is blind to bandwidth."""

from pydantic import Field

from infra.manifest import Manifest
from models.frozen.dnsmos import Dnsmos, Quality
from pipelines.clip import Clip, Rejected

SETS = ("mos_overall", "mos_signal", "mos_background", "mos_by")
READS: tuple[str, ...] = ()
CHANGES_WAVE = False


class Config(Manifest):
    hop_seconds: float = Field(default=4.0, gt=0)
    """From one window of 9.01 s to the next."""


class Transform:
    """Sets overall, signal and background scores, 1 to 5."""

    def __init__(self, cfg: Config) -> None:
        self.model = Dnsmos(hop_seconds=cfg.hop_seconds)
        self.fingerprint = self.model.fingerprint

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order; a clip without a sample is rejected."""
        scores = self.model([clip.at(self.model.RATE_HZ) for clip in clips])
        return [scored(clip, quality) for clip, quality in zip(clips, scores, strict=True)]


def scored(clip: Clip, quality: Quality | None) -> Clip | Rejected:
    """The clip with its scores."""
    if quality is None:
        return Rejected(segment=clip.segment, reason="dropped:empty")
    return clip.with_(
        mos_overall=round(quality.overall, 4),
        mos_signal=round(quality.signal, 4),
        mos_background=round(quality.background, 4),
        mos_by="dnsmos",
    )
