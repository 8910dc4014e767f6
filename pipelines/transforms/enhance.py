"""Take noise off clips that need it, by RNNoise; leave all others exactly as they are, and say which is which."""

from dataclasses import replace

from pydantic import Field

from infra.manifest import Manifest
from models.frozen.dnsmos import Dnsmos
from models.frozen.rnnoise import Rnnoise
from pipelines.row import Clip, Rejected
from pipelines.transforms import fingerprint_of
from pipelines.transforms.loudness import snr_db

SETS = ("enhanced",)
READS: tuple[str, ...] = ()
CHANGES_WAVE = True

NOT_NEEDED = "no"


class Config(Manifest):
    below_snr_db: float = 20.0
    """The cheap gate: clips further above their background are not even scored."""
    below_mos: float = 2.6
    """The gate: overall DNSMOS below which a clip is enhanced. Clean read speech has 2.8 to 3.4."""
    min_gain: float = 0.1
    """Keep the original where the overall score gains less than this."""
    wet: float = Field(default=0.8, gt=0, le=1)


class Transform:
    """Sets `enhanced`, and changes the waveform of the clips where it names a backend. Run it before other scores."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.judge, self.denoise = Dnsmos(), Rnnoise(wet=cfg.wet)
        backends = [self.judge.fingerprint, self.denoise.fingerprint]
        self.fingerprint = fingerprint_of(__file__, cfg=cfg, backends=backends)

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> Clip:
        """Gate by background, then by quality; keep what is better by enough."""
        rate_hz = clip.segment.rate_hz
        snr = snr_db(clip.wave_S, rate_hz=rate_hz, noise_percentile=10.0)
        if snr is None or snr >= self.cfg.below_snr_db:
            return clip.with_(enhanced=NOT_NEEDED)
        before = self.score(clip)
        if before >= self.cfg.below_mos:
            return clip.with_(enhanced=NOT_NEEDED)
        wave_S = self.denoise([clip.at(self.denoise.RATE_HZ)])[0]
        segment = replace(clip.segment, enhanced=f"rnnoise-{self.cfg.wet:g}")
        better = Clip(segment=segment, wave_S=clip.fitted(wave_S, rate_hz=self.denoise.RATE_HZ))
        if self.score(better) < before + self.cfg.min_gain:
            return clip.with_(enhanced=NOT_NEEDED)
        return better

    def score(self, clip: Clip) -> float:
        """Overall DNSMOS."""
        quality = self.judge([clip.at(self.judge.RATE_HZ)])[0]
        return quality.overall if quality is not None else 0.0
