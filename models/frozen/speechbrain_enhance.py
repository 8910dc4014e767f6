"""Speech enhancement of SpeechBrain: MetricGAN+ and SepFormer, from a folder as its hub holds them.

The hyperparams.yaml of the folder runs code where SpeechBrain loads it; here it is read as data (see `hyperpyyaml.py`),
and the weights (`enhance_model.ckpt`, or `encoder.ckpt`, `masknet.ckpt` and `decoder.ckpt`) without pickled objects.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.frozen import Wave, WeightsError, fingerprint_of, local_file
from models.frozen.hyperpyyaml import Hyperparameters, Tagged
from models.frozen.tensors import fill, read_tensors

FIX = (
    "put a folder of the hub there (speechbrain/metricgan-plus-voicebank or speechbrain/sepformer-wham16k-enhancement: "
    "hyperparams.yaml and the .ckpt files), or use rnnoise"
)
DUAL_PATH = "speechbrain.lobes.models.dual_path"
ALLOWED = frozenset(
    {
        "speechbrain.lobes.models.MetricGAN.EnhancementGenerator",
        "speechbrain.processing.features.STFT",
        "torch.hamming_window",
        "torch.hann_window",
        *(f"{DUAL_PATH}.{name}" for name in ("Encoder", "Decoder", "SBTransformerBlock", "Dual_Path_Model")),
    }
)
MASK, SEPARATION = ("enhance_model",), ("encoder", "masknet", "decoder")
SHORTEST = 1600
"""Samples below which there is nothing to enhance; shorter waveforms come back as they are."""


class SpeechbrainEnhance:
    """Enhanced speech, at the level of what came in: the level of a SepFormer's output is arbitrary.

    Waveforms go through one at a time. The networks keep no state: threads may share an object.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        """Raises: WeightsError where the folder or a file is missing, or the YAML names other networks."""
        self.path, self.device = local_file(folder, what="SpeechBrain folder", fix=FIX), device
        yaml_file = local_file(self.path / "hyperparams.yaml", what="hyperparameters", fix=FIX)
        self.hyperparameters = Hyperparameters(yaml_file, allowed=ALLOWED, fix=FIX)
        named = self.hyperparameters.table.get("modules")
        named = named if isinstance(named, dict) else {}
        kinds = [kind for kind in (MASK, SEPARATION) if set(kind) <= named.keys()]
        if not kinds:
            raise self.hyperparameters.refusal(f"names modules {sorted(named)}, not those of an enhancement")
        self.names = kinds[0]
        paths = {name: self.path / f"{name}.ckpt" for name in self.names}
        self.weights = {name: local_file(path, what="weights", fix=FIX) for name, path in paths.items()}

    @cached_property
    def RATE_HZ(self) -> int:  # noqa: N802 - what every backend calls it; here the folder says it
        """Of the waveforms that the network takes and gives: 16000 or 8000."""
        if self.names == SEPARATION:
            return int(self.hyperparameters.get("sample_rate"))
        return int(self._transform.sample_rate)

    @property
    def fingerprint(self) -> str:
        """Version, settings and weights."""
        weights = [self.path / "hyperparams.yaml", *self.weights.values()]
        return fingerprint_of("speechbrain_enhance", package="speechbrain", weights=weights)

    def __call__(self, waves: Sequence[Wave]) -> list[Wave]:
        """One waveform (`RATE_HZ`) of the same length and place in time, for each."""
        return [self.enhance(wave_S) if len(wave_S) >= SHORTEST else wave_S for wave_S in waves]

    def enhance(self, wave_S: Wave) -> Wave:
        """Of one waveform; silence stays silence."""
        import torch

        noisy_BS = torch.from_numpy(wave_S).float()[None].to(self.device)
        with torch.inference_mode():
            found_BS = self.masked(noisy_BS) if self.names == MASK else self.separated(noisy_BS)
        found_S: Wave = found_BS[0].cpu().numpy()
        found_S = np.pad(found_S, (0, max(0, len(wave_S) - len(found_S))))[: len(wave_S)]
        energy = float(np.square(found_S, dtype=np.float64).sum())
        gain = float(np.dot(found_S.astype(np.float64), wave_S)) / energy if energy > 1e-12 else 0.0
        return (found_S * np.float32(gain)).astype(np.float32)

    def masked(self, noisy_BS: Any) -> Any:
        """A mask on the logarithm of 1 plus the magnitude, and the phase of the noise (MetricGAN+, 2104.03538)."""
        import torch
        from speechbrain.processing.features import ISTFT, spectral_magnitude
        from speechbrain.processing.signal_processing import resynthesize

        stft = self._transform
        magnitude = torch.log1p(spectral_magnitude(stft(noisy_BS), power=0.5))
        mask = self._networks["enhance_model"](magnitude, lengths=torch.ones(1, device=noisy_BS.device))
        milliseconds = 1000 / stft.sample_rate
        inverse = ISTFT(
            sample_rate=stft.sample_rate,
            n_fft=stft.n_fft,
            win_length=stft.win_length * milliseconds,
            hop_length=stft.hop_length * milliseconds,
        )
        inverse.window = stft.window
        return resynthesize(torch.expm1(mask * magnitude), noisy_BS, stft, inverse, normalize_wavs=False)

    def separated(self, noisy_BS: Any) -> Any:
        """The first source of a mask in the learned domain (SepFormer, 2010.13154)."""
        hidden = self._networks["encoder"](noisy_BS)
        mask = self._networks["masknet"](hidden)[0]
        return self._networks["decoder"](hidden * mask)

    @cached_property
    def _transform(self) -> Any:
        """The spectrum that the masks were trained on; its magnitude, not its power."""
        power = self.hyperparameters.table.get("spectral_magnitude")
        if not isinstance(power, Tagged) or not isinstance(power.value, dict) or power.value.get("power") != 0.5:
            raise self.hyperparameters.refusal("takes another spectrum than the magnitude (power: 0.5)")
        return self.hyperparameters.get("compute_stft")

    @cached_property
    def _networks(self) -> dict[str, Any]:
        """Every module with its weights."""
        made = {}
        for name in self.names:
            network, path = (
                self.hyperparameters.resolved(self.hyperparameters.table["modules"][name]),
                self.weights[name],
            )
            fill(network, read_tensors(path, fix=FIX), path=path, fix=FIX)
            made[name] = network.to(self.device)
        voices = getattr(made.get("masknet"), "num_spks", 1)
        if voices != 1:
            raise self.hyperparameters.refusal(f"separates {voices} voices and enhances none")
        return made


def enhancer(checkpoint: Path | None, *, device: str) -> SpeechbrainEnhance:
    """The network in the folder `checkpoint`.

    Raises: WeightsError
    """
    if checkpoint is None:
        raise WeightsError(f"speechbrain_enhance needs checkpoint: the path of its folder; {FIX}")
    return SpeechbrainEnhance(checkpoint, device=device)
