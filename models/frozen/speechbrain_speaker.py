"""Speaker embeddings of SpeechBrain: ECAPA-TDNN and x-vectors, from a folder as its hub holds them.

The hyperparams.yaml of the folder runs code where SpeechBrain loads it; here it is read as data (see `hyperpyyaml.py`),
and `embedding_model.ckpt` without pickled objects.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.frozen import Split, Wave, WeightsError, code_of, fingerprint_of, local_file
from models.frozen.hyperpyyaml import Hyperparameters
from models.frozen.tensors import fill, read_tensors

FIX = (
    "put a folder of the hub there (speechbrain/spkrec-ecapa-voxceleb or speechbrain/spkrec-xvect-voxceleb: "
    "hyperparams.yaml and embedding_model.ckpt), or use campplus"
)
ALLOWED = frozenset(
    {
        "speechbrain.lobes.features.Fbank",
        "speechbrain.processing.features.InputNormalization",
        "speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN",
        "speechbrain.lobes.models.Xvector.Xvector",
        "torch.nn.LeakyReLU",
        "torch.nn.ReLU",
    }
)
SHORTEST = 8000
"""Samples (0.5 s) up to which a shorter sound is repeated."""
LONGEST = 160_000
"""Samples (10 s) that one embedding is made of; a longer sound has the mean of several."""
BATCH_SAMPLES = 400_000
"""Samples (25 s) in a batch of windows: its memory is a few hundred MB."""


class SpeechbrainSpeaker:
    """Embeddings of unit length; similarity is the dot product."""

    RATE_HZ = 16000
    SAME_COSINE = 0.4
    SPLIT = Split(window_seconds=1.5, hop_seconds=0.75, spread=0.5, limit=0.3, certain=0.45)
    """As for CAM++, whose cosines ECAPA's are like. Not measured: the released weights come in no wheel."""

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        """Raises: WeightsError where the folder or a file is missing, or the YAML is none."""
        self.path, self.device = local_file(folder, what="SpeechBrain folder", fix=FIX), device
        yaml_file = local_file(self.path / "hyperparams.yaml", what="hyperparameters", fix=FIX)
        self.weights = local_file(self.path / "embedding_model.ckpt", what="weights", fix=FIX)
        self.hyperparameters = Hyperparameters(yaml_file, allowed=ALLOWED, fix=FIX)

    @property
    def fingerprint(self) -> str:
        """Version, settings, weights, and the code that is ours."""
        weights = [self.path / "hyperparams.yaml", self.weights]
        code = code_of("frozen/speechbrain_speaker.py", "frozen/hyperpyyaml.py")
        return fingerprint_of("speechbrain_speaker", package="speechbrain", weights=weights, code=code)

    def __call__(self, waves: Sequence[Wave]) -> list[NDArray[np.float32]]:
        """One embedding a waveform (16 kHz), each as if it were alone: padding shifts the shorter of a batch."""
        found = []
        for wave_S in waves:
            mean = self.windows(wave_S, window=LONGEST, hop=LONGEST).mean(axis=0)
            found.append((mean / np.linalg.norm(mean)).astype(np.float32))
        return found

    def windows(self, wave_S: Wave, *, window: int, hop: int) -> NDArray[np.float32]:
        """Embeddings of windows of a waveform, in samples: (windows, width). The last window ends where it does."""
        import torch

        if len(wave_S) < SHORTEST:
            wave_S = np.resize(wave_S, SHORTEST) if len(wave_S) else np.zeros(SHORTEST, np.float32)
        last = max(0, len(wave_S) - window)
        starts = sorted({*range(0, last + 1, hop), last})
        batch = max(1, BATCH_SAMPLES // window)
        features, normalize, network = self._parts
        found = []
        with torch.inference_mode():
            for first in range(0, len(starts), batch):
                parts = [wave_S[start : start + window] for start in starts[first : first + batch]]
                part_BS = torch.from_numpy(np.stack(parts).astype(np.float32)).to(self.device)
                whole_B = torch.ones(len(part_BS), device=self.device)
                raw = network(normalize(features(part_BS), whole_B), whole_B)[:, 0]
                found.append((raw / raw.norm(dim=1, keepdim=True).clamp_min(1e-6)).cpu().numpy())
        return np.concatenate(found).astype(np.float32)

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        """The filter bank, its normalization over each sentence, and the network with its weights."""
        features, normalize, network = (
            self.hyperparameters.get(name) for name in ("compute_features", "mean_var_norm", "embedding_model")
        )
        if getattr(normalize, "norm_type", None) != "sentence":
            raise self.hyperparameters.refusal("normalizes otherwise than over each sentence (norm_type: sentence)")
        fill(network, read_tensors(self.weights, fix=FIX), path=self.weights, fix=FIX)
        without_noise(network)
        return features.to(self.device).eval(), normalize.eval(), network.to(self.device)


def without_noise(network: Any) -> None:
    """Take the random numbers (1e-5) out of SpeechBrain's statistics pooling: the same sound has the same embedding."""
    import torch
    from speechbrain.nnet.pooling import StatisticsPooling

    for part in network.modules():
        if isinstance(part, StatisticsPooling):
            part._get_gauss_noise = lambda shape, device="cpu": torch.zeros(shape, device=device)


def embedder(checkpoint: Path | None, *, device: str = "cpu") -> SpeechbrainSpeaker:
    """The embedder in the folder `checkpoint`.

    Raises: WeightsError
    """
    if checkpoint is None:
        raise WeightsError(f"speechbrain_speaker needs checkpoint: the path of its folder; {FIX}")
    return SpeechbrainSpeaker(checkpoint, device=device)
