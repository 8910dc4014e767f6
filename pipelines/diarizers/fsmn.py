"""FunASR's recipe: speech by FSMN-VAD, in windows of 1.5 s, embedded and clustered; overlap is not heard."""

import numpy as np

from models.frozen import Wave
from models.frozen.fsmn_vad import detector
from pipelines.diarizers import DiarizerConfig
from pipelines.diarizers.windows import assigned
from pipelines.hearing.embedders import embedder_of
from pipelines.hearing.voices import FRAME, FRAME_SECONDS, Spoken


class Fsmn:
    """See the file."""

    def __init__(self, cfg: DiarizerConfig) -> None:
        self.cfg, self.vad, self.model = cfg, detector(cfg.vad, device=cfg.device), embedder_of(cfg)

    @property
    def fingerprint(self) -> str:
        """Of the networks."""
        return "+".join(part.fingerprint for part in (self.vad, self.model))

    def __call__(self, wave_S: Wave) -> Spoken | None:
        """See `Diarizer`."""
        speech_F = np.zeros(-(-len(wave_S) // FRAME), dtype=bool)
        for start, end in self.vad.intervals(wave_S):
            speech_F[round(start / FRAME_SECONDS) : round(end / FRAME_SECONDS)] = True
        return assigned(wave_S, speech_F, changes=[], model=self.model, cfg=self.cfg) if speech_F.any() else None


def diarizer(cfg: DiarizerConfig) -> Fsmn:
    """The diarizer of this file.

    Raises: WeightsError where there is no folder of FSMN-VAD.
    """
    return Fsmn(cfg)
