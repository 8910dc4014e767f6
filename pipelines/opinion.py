"""Which of two versions of a clip sounds better: by DNSMOS, heard at one level."""

from models.frozen.dnsmos import Dnsmos
from pipelines.row import Clip


class Opinion:
    """The predicted overall opinion of listeners, 1 to 5."""

    def __init__(self) -> None:
        self.model = Dnsmos()

    @property
    def fingerprint(self) -> str:
        """Of the model."""
        return str(self.model.fingerprint)

    def __call__(self, clip: Clip) -> float:
        """Of one clip; 0 for one without a sample."""
        quality = self.model([clip.at(self.model.RATE_HZ)])[0]
        return quality.overall if quality is not None else 0.0
