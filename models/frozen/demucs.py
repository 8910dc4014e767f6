"""Demucs: the voice out of music, by a hybrid transformer from a local safetensors file of the hub's layout."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.frozen import Wave, WeightsError, fingerprint_of, local_file

FIX = (
    "put a model file of the hub's layout there (955717e8.safetensors of adefossez/HTDemucs), or leave the backend out "
    "so that clips with music are dropped or passed"
)
CLASSES = ("demucs.htdemucs.HTDemucs", "demucs.hdemucs.HDemucs", "demucs.demucs.Demucs")
"""What a file may ask for: it names a class and its arguments, and must not make us call anything else."""
VOICE = "vocals"


class Demucs:
    """The voice alone, mono, in chunks of the length that the network was trained on, which overlap and are faded.

    No random shifts, so the same voice comes out for the same sound. Memory is that of one chunk whatever the length of
    a waveform, and waveforms go through one at a time. The network keeps no state: threads may share an object.
    """

    def __init__(self, checkpoint: Path, *, device: str = "cpu", overlap: float = 0.25) -> None:
        """Raises: WeightsError where there is no file, or one of the pickled layout."""
        self.path = local_file(checkpoint, what="Demucs checkpoint", fix=FIX)
        if self.path.suffix != ".safetensors":
            raise WeightsError(f"{self.path} is no .safetensors file, and pickled ones (.th) run code; {FIX}")
        self.device, self.overlap = device, overlap
        self.metadata = metadata_of(self.path)

    @property
    def fingerprint(self) -> str:
        """Version, weights and overlap."""
        return fingerprint_of("demucs", package="demucs", weights=[self.path], overlap=self.overlap, shifts=0)

    @cached_property
    def RATE_HZ(self) -> int:  # noqa: N802 - what every backend calls it; here the checkpoint says it
        """Of the network: 44100 for all released ones."""
        return int(self._network.samplerate)

    def __call__(self, waves: Sequence[Wave]) -> list[Wave]:
        """One waveform (`RATE_HZ`) of the same length and place in time, for each."""
        return [self.separate(wave_S) for wave_S in waves]

    def separate(self, wave_S: Wave) -> Wave:
        """At unit variance through the network, as it was trained, and back; silence stays silence."""
        import torch
        from demucs.apply import apply_model

        mean, deviation = float(wave_S.mean()) if wave_S.size else 0.0, float(wave_S.std()) if wave_S.size else 0.0
        if deviation < 1e-8:
            return np.zeros_like(wave_S)
        network = self._network
        normal_S = torch.from_numpy(((wave_S - mean) / deviation).astype(np.float32))
        mix = normal_S.expand(1, network.audio_channels, -1).contiguous()
        with torch.inference_mode():
            found = apply_model(network, mix, shifts=0, split=True, overlap=self.overlap, device=self.device)
        voice_S: Wave = found[0, network.sources.index(VOICE)].mean(dim=0).cpu().numpy() * deviation + mean
        return voice_S.astype(np.float32)

    @cached_property
    def _network(self) -> Any:
        from demucs.hf import load_safetensors_model
        from safetensors import SafetensorError

        try:
            network = load_safetensors_model(self.path)
        except (RuntimeError, KeyError, TypeError, ValueError, AssertionError, SafetensorError, OSError) as error:
            why = (str(error).strip() or type(error).__name__).splitlines()
            raise WeightsError(f"{self.path} is no whole Demucs checkpoint ({' '.join(why)[:300]}); {FIX}") from None
        if VOICE not in network.sources:
            raise WeightsError(f"{self.path} separates {', '.join(network.sources)}, and no {VOICE}; {FIX}")
        return network.eval().requires_grad_(False).to(self.device)


def metadata_of(path: Path) -> dict[str, str]:
    """Class and arguments, as the file states them.

    Raises: WeightsError for what is no such file, or asks for another class.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors ({error}); {FIX}") from None
    missing = [key for key in ("klass", "args", "kwargs") if key not in metadata]
    if missing:
        raise WeightsError(f"{path} states no {', '.join(missing)} in its metadata; {FIX}")
    if metadata["klass"] not in CLASSES:
        raise WeightsError(f"{path} asks for {metadata['klass']!r}, which is none of {', '.join(CLASSES)}; {FIX}")
    if "structure" in metadata:
        raise WeightsError(f"{path} holds quantized weights, which are not read here; {FIX}")
    try:
        json.loads(metadata["args"]), json.loads(metadata["kwargs"])
    except ValueError as error:
        raise WeightsError(f"{path} states arguments that are no JSON ({error}); {FIX}") from None
    return metadata


def separator(checkpoint: Path | None, *, device: str) -> Demucs:
    """The separator with the weights at `checkpoint`.

    Raises: WeightsError
    """
    if checkpoint is None:
        raise WeightsError(f"demucs needs checkpoint: the path of its weights; {FIX}")
    return Demucs(checkpoint, device=device)
