"""Speaker embeddings of the GE2E network in the resemblyzer wheel, built here without the imports it needs."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.frozen import Split, Wave, WeightsError, at_level, code_of, fingerprint_of, wheel_file

LEVEL_DBFS = -24.0
"""It hears gain, and was trained on -30 and more: at -24 and -21 it tells voices apart best, at -30 half as well."""
MELS = 40
WIDTH = 256
LAYERS = 3
FFT = 400
STEP = 160
BATCH = 64
WINDOW = 25600


class Resemblyzer:
    """256-wide embeddings of unit length, none negative; similarity is the dot product.

    A window has the vector that the package gives it. `VoiceEncoder.embed_utterance` lays windows otherwise: 0.77 s
    apart, the last one filled up with zeros or left out, over a wave from which pauses are taken.
    """

    RATE_HZ = 16000
    SIZE = WIDTH
    SAME_COSINE = 0.72
    SPLIT = Split(window_seconds=2.0, hop_seconds=0.5, spread=0.12, limit=0.17, certain=0.75)

    def __init__(self, *, device: str = "cpu") -> None:
        self.path, self.device = wheel_file("resemblyzer", "pretrained.pt"), device

    @property
    def fingerprint(self) -> str:
        """Version, weights, and the code, which is ours."""
        code = code_of("frozen/resemblyzer.py")
        return fingerprint_of("resemblyzer", package="resemblyzer", weights=[self.path], code=code)

    def __call__(self, waves: Sequence[Wave]) -> list[NDArray[np.float32]]:
        """One embedding a waveform (16 kHz): the mean over windows of 1.6 s, which the network was trained on."""
        means = [self.windows(wave_S, window=WINDOW, hop=WINDOW // 2).mean(axis=0) for wave_S in waves]
        return [(mean / np.linalg.norm(mean)).astype(np.float32) for mean in means]

    def windows(self, wave_S: Wave, *, window: int, hop: int) -> NDArray[np.float32]:
        """Embeddings of windows of a waveform, in samples: (windows, 256). The last window ends where it does."""
        import torch

        mel_FM = self._mel(at_level(wave_S, dbfs=LEVEL_DBFS))
        size, step = max(1, window // STEP), max(1, hop // STEP)
        last = max(0, len(mel_FM) - size)
        starts = sorted({*range(0, last + 1, step), last})
        found = []
        for first in range(0, len(starts), BATCH):
            batch = np.stack([mel_FM[start : start + size] for start in starts[first : first + BATCH]])
            with torch.inference_mode():
                _, (hidden, _) = self._network["lstm"](torch.from_numpy(batch).to(self.device))
                raw = torch.relu(self._network["linear"](hidden[-1]))
                found.append((raw / raw.norm(dim=1, keepdim=True).clamp_min(1e-6)).cpu().numpy())
        return np.concatenate(found).astype(np.float32)

    def _mel(self, wave_S: Wave) -> NDArray[np.float32]:
        """Mel power, not its logarithm: 40 bands (Slaney), 25 ms windows, 10 ms hop, as the network was trained."""
        centered = np.pad(wave_S, FFT // 2)
        frames = np.lib.stride_tricks.sliding_window_view(centered, FFT)[::STEP]
        power = np.square(np.abs(np.fft.rfft(frames * self._hann, axis=1)))
        return np.asarray(power @ self._bank, dtype=np.float32)

    @cached_property
    def _hann(self) -> NDArray[np.float32]:
        return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)).astype(np.float32)

    @cached_property
    def _bank(self) -> NDArray[np.float32]:
        return mel_bank(bands=MELS, fft=FFT, rate_hz=self.RATE_HZ)

    @cached_property
    def _network(self) -> Any:
        import torch

        network = torch.nn.ModuleDict(
            {"lstm": torch.nn.LSTM(MELS, WIDTH, LAYERS, batch_first=True), "linear": torch.nn.Linear(WIDTH, WIDTH)}
        )
        stored = torch.load(self.path, map_location="cpu", weights_only=True)["model_state"]
        wanted = {name: value for name, value in stored.items() if name.startswith(("lstm.", "linear."))}
        missing = sorted(set(network.state_dict()) - set(wanted))
        if missing:
            raise WeightsError(f"{self.path} lacks {', '.join(missing)}; install resemblyzer again")
        network.load_state_dict(wanted)
        return network.eval().to(self.device)


def embedder(checkpoint: Path | None, *, device: str = "cpu") -> Resemblyzer:
    """The embedder; its weights come in the wheel.

    Raises: WeightsError where others are named.
    """
    if checkpoint is not None:
        raise WeightsError(f"resemblyzer has the weights of its wheel alone; leave out the checkpoint {checkpoint}")
    return Resemblyzer(device=device)


def mel_bank(*, bands: int, fft: int, rate_hz: int) -> NDArray[np.float32]:
    """Triangular filters on the Slaney mel scale, each of unit area: (fft // 2 + 1, bands); as librosa's default."""

    def hz_to_mel(hz: float) -> float:
        return hz / (200 / 3) if hz < 1000 else 15 + 27 * float(np.log(hz / 1000)) / float(np.log(6.4))

    mels = np.linspace(0, hz_to_mel(rate_hz / 2), bands + 2)
    edges_hz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mels - 15)))
    bins_hz = np.arange(fft // 2 + 1) * rate_hz / fft
    low, mid, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising, falling = (bins_hz - low) / (mid - low), (high - bins_hz) / (high - mid)
    triangles = np.maximum(0, np.minimum(rising, falling)) * (2 / (high - low))
    return np.asarray(triangles.T, dtype=np.float32)
