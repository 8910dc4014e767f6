"""Which of two versions of a clip sounds better: by UTMOS where a checkpoint is named, else by DNSMOS."""

from pathlib import Path

from models.frozen.dnsmos import Dnsmos
from models.frozen.utmos import Utmos, judge
from pipelines.clip import Clip


class Opinion:
    """The opinion of listeners, as a network predicts it, 1 to 5; not to be compared between networks."""

    def __init__(self, *, utmos: Path | None = None, device: str = "cpu") -> None:
        """Raises: WeightsError where a checkpoint is named and is not there."""
        self.model: Dnsmos | Utmos = Dnsmos() if utmos is None else judge(utmos, device=device)

    @property
    def fingerprint(self) -> str:
        """Of the network."""
        return str(self.model.fingerprint)

    def __call__(self, clip: Clip) -> float:
        """Of one clip; 0 for one without enough in it to judge."""
        score = self.model([clip.at(self.model.RATE_HZ)])[0]
        if score is None:
            return 0.0
        return score if isinstance(score, float) else score.overall
