"""Where the spectrum of the speech ends, at the native rate; and whether the recording once had a lower rate."""

from pydantic import Field

from infra.manifest import Manifest
from pipelines.clip import Clip, Rejected
from pipelines.hearing.spectrum import cliffs_of, reach_hz, source_of, spectrum_of
from pipelines.row import Wave

SETS = ("bandwidth_hz", "bandwidth_cliff", "upsampled", "upsampled_from_hz")
READS: tuple[str, ...] = ()
CHANGES_WAVE = False


class Config(Manifest):
    below_peak_db: float = Field(default=50.0, gt=0)
    """The spectrum ends at the highest frequency within this of its peak."""
    active_db: float = Field(default=30.0, gt=0)
    """Frames within this of the loudest count as speech; in the others there is only background to see."""
    cliff_db: float = Field(default=20.0, gt=0)
    """A fall by this much within 500 Hz is a cliff: a resampler's low-pass, or a codec's."""
    image: float = Field(default=0.6, gt=0, lt=1)
    """Likeness of the spectrum above half of a lower rate to the one below it, in a mirror, that proves upsampling."""


class Transform:
    """Sets the effective bandwidth in Hz, whether there is a cliff anywhere, and the verdict on upsampling.

    Run it before what changes the sound. MP3 and Opus at low rates cut as resamplers do: MP3 at 16 kHz and above is a
    cliff alone; Opus that ends at 8 or 12 kHz works at 16 or 24 kHz inside, and is called upsampled.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> Clip:
        """None where there is nothing to measure."""
        found = ends(clip.wave_S, rate_hz=clip.segment.rate_hz, cfg=self.cfg)
        if found is None:
            return clip.with_(bandwidth_hz=None, bandwidth_cliff=None, upsampled=None, upsampled_from_hz=None)
        reach, cliffs = found
        source_hz = source_of(
            clip.wave_S, rate_hz=clip.segment.rate_hz, reach=reach, cliffs=cliffs, image=self.cfg.image
        )
        if source_hz is not None:
            reach = min(reach, source_hz / 2)
        return clip.with_(
            bandwidth_hz=round(reach, 1),
            bandwidth_cliff=bool(cliffs),
            upsampled=source_hz is not None,
            upsampled_from_hz=source_hz,
        )


def keeps_bandwidth(before: Clip, after: Clip, *, max_loss: float) -> bool:
    """Does a changed clip reach as high as it did, but for this share?"""
    was, now = (ends(clip.wave_S, rate_hz=clip.segment.rate_hz) for clip in (before, after))
    return was is None or (now is not None and now[0] >= (1 - max_loss) * was[0])


def ends(wave_S: Wave, *, rate_hz: int, cfg: Config | None = None) -> tuple[float, list[float]] | None:
    """Effective bandwidth and the edges of cliffs, in Hz; None where there is nothing to measure."""
    cfg = cfg or Config()
    spectrum = spectrum_of(wave_S, rate_hz=rate_hz, active_db=cfg.active_db)
    if spectrum is None:
        return None
    cliffs = cliffs_of(spectrum, cliff_db=cfg.cliff_db)
    return reach_hz(spectrum, below_peak_db=cfg.below_peak_db, cliffs=cliffs), cliffs
