"""A caption of how the clip sounds, by rules or by an endpoint that listens; and what in it the measures deny."""

from pydantic import Field

from infra.manifest import Manifest
from pipelines.captions.claims import Caption, by_rules, conflicts
from pipelines.captions.endpoint import Asker
from pipelines.captions.pitch import RATE_HZ, pitch_hz
from pipelines.captions.settings import Endpoint
from pipelines.clip import Clip, Rejected

SETS = ("caption", "caption_short", "caption_tags", "caption_by", "caption_conflicts", "pitch_hz")
READS: tuple[str, ...] = ("language", "text", "snr_db", "mos_overall")
CHANGES_WAVE = False


class Config(Manifest):
    lowest_hz: float = Field(default=65.0, gt=30)
    highest_hz: float = Field(default=420.0, lt=1000)
    voicing: float = Field(default=0.6, gt=0, lt=1)
    """Normalised autocorrelation above which a frame is voiced."""
    endpoint: Endpoint | None = None
    """Who listens; None: rules write the caption from what was measured."""


class Transform:
    """Sets the median pitch of the voiced frames, the caption in its forms, and its conflicts with what was measured.

    `caption_by` is the model's name, or `rules`, with the reason in brackets where the endpoint should have spoken.
    """

    def __init__(self, cfg: Config) -> None:
        """Raises: WeightsError where the endpoint's key is missing."""
        self.cfg = cfg
        self.asker = Asker(cfg.endpoint) if cfg.endpoint is not None else None
        self.fingerprint = self.asker.question if self.asker else ""

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order. Pitch first: rules and checks use it."""
        clips = [self.with_pitch(clip) for clip in clips]
        if self.asker is None:
            return [captioned(clip, by_rules(clip.segment)) for clip in clips]
        found: list[Clip | Rejected] = []
        for clip, told in zip(clips, self.asker(clips), strict=True):
            if isinstance(told, str):
                caption = by_rules(clip.segment, why=told)
            else:
                caption = Caption(told.long, told.short, told.tags, self.asker.cfg.model)
            found.append(captioned(clip, caption))
        return found

    def with_pitch(self, clip: Clip) -> Clip:
        """The clip with its median pitch; None without voiced frames."""
        cfg = self.cfg
        pitch = pitch_hz(clip.at(RATE_HZ), lowest_hz=cfg.lowest_hz, highest_hz=cfg.highest_hz, voicing=cfg.voicing)
        return clip.with_(pitch_hz=None if pitch is None else round(pitch, 1))


def captioned(clip: Clip, caption: Caption) -> Clip:
    """The clip with its caption, checked."""
    return clip.with_(
        caption=caption.long,
        caption_short=caption.short,
        caption_tags=caption.tags,
        caption_by=caption.by,
        caption_conflicts=conflicts(caption, clip.segment),
    )
