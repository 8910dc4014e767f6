"""WavLM hidden states as a frozen teacher, from a local transformers folder: model.safetensors or pytorch_model.bin."""

import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.frozen import WeightsError, local_file
from models.speaker.campplus import Resample

FIX = "get microsoft/wavlm-large by hand and name its folder; nothing is downloaded here"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""The first that is there; the second, as the large one was released, is read as tensors alone."""


class WavLM(nn.Module):
    """Frame features of layer `layer` at the latents' rate; always in evaluation mode, never with gradients."""

    def __init__(self, folder: str | Path, *, layer: int = 23) -> None:
        """Raises: WeightsError where a file or a tensor is missing, or the folder is no WavLM's."""
        super().__init__()
        root = local_file(folder, what="WavLM", fix=FIX)
        local_file(root / "config.json", what="WavLM file", fix=FIX)
        model = loaded(root)
        deepest = model.config.num_hidden_layers
        if not 0 <= layer <= deepest:
            raise WeightsError(f"{root} has layers 0 (convolutions) to {deepest}, and no layer {layer}")
        self.model, self.layer = model, layer
        self.normalizes = normalizes(root, default=model.config.feat_extract_norm == "layer")
        self.resample = Resample()
        self.eval().requires_grad_(False)

    @property
    def width(self) -> int:
        """Width of the features."""
        return int(self.model.config.hidden_size)

    def train(self, mode: bool = True) -> "WavLM":
        """Stay in evaluation mode: no dropout, no layer drop."""
        return super().train(False)

    @torch.no_grad()
    def features(self, wave_BS: Tensor, length_B: Tensor, *, hop: int) -> Tensor:
        """Hidden states of 48 kHz waveforms, interpolated to one a latent frame, zeros after each utterance's end.

        Shapes: (B, S), (B,) -> (B, F, W). WavLM's 50 Hz become 25 Hz by linear interpolation over each utterance's own
        frames. One utterance at a time: models with a group norm see padding, and a mask costs the others a warning.
        In float32, also under autocast.
        """
        frames = [-(-int(length) // hop) for length in length_B]
        found = wave_BS.new_zeros(len(frames), max(frames), self.width)
        with torch.autocast(wave_BS.device.type, enabled=False):
            for number, (wave_S, length, count) in enumerate(zip(wave_BS, length_B, frames, strict=True)):
                own_1WF = self.hidden(self.at_16k(wave_S[: int(length)]).unsqueeze(0)).transpose(1, 2)
                fitted_1WF = functional.interpolate(own_1WF, size=count, mode="linear", align_corners=False)
                found[number, :count] = fitted_1WF[0].T
        return found

    def at_16k(self, wave_S: Tensor) -> Tensor:
        """Resampled, and of zero mean and unit variance where the checkpoint asks for it."""
        wave_S = self.resample(wave_S.float().unsqueeze(0)).squeeze(0)
        if self.normalizes:
            wave_S = (wave_S - wave_S.mean()) / (wave_S.var(correction=0) + 1e-7).sqrt()
        return wave_S

    def hidden(self, wave_BS: Tensor) -> Tensor:
        """Layer `layer` of 16 kHz waveforms: 0 is the output of the convolutions, 23 that of block 23."""
        out = self.model(wave_BS, output_hidden_states=True)
        return cast(Tensor, out.hidden_states[self.layer])


def loaded(root: Path) -> Any:
    """The network with all of its tensors: transformers makes up what a file lacks, and says so in its log alone.

    Raises: WeightsError
    """
    import pickle

    from safetensors import SafetensorError
    from transformers import WavLMModel

    kind = stated(root / "config.json").get("model_type", "wavlm")
    if kind != "wavlm":
        raise WeightsError(f"{root / 'config.json'} is of a {kind}, and no wavlm; {FIX}")
    weights = next((root / name for name in WEIGHTS if (root / name).is_file()), None)
    if weights is None:
        raise WeightsError(f"no {' or '.join(WEIGHTS)} in {root}; {FIX}")
    try:
        model, told = WavLMModel.from_pretrained(
            root, local_files_only=True, use_safetensors=weights.name == WEIGHTS[0], output_loading_info=True
        )
    except (OSError, EOFError, ValueError, RuntimeError, pickle.UnpicklingError, SafetensorError) as error:
        raise WeightsError(f"{root} cannot be loaded as a WavLM: {error}; {FIX}") from None
    missing = sorted(set(told["missing_keys"]) - {"masked_spec_embed"})  # of masked training alone
    if missing:
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise WeightsError(f"{weights} lacks {len(missing)} tensors ({shown}); {FIX}")
    return model


def normalizes(root: Path, *, default: bool) -> bool:
    """Does the checkpoint's own preprocessor normalize waveforms?"""
    path = root / "preprocessor_config.json"
    return bool(stated(path).get("do_normalize", default)) if path.exists() else default


def stated(path: Path) -> dict[str, Any]:
    """The table in a JSON file.

    Raises: WeightsError
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is no JSON ({error}); {FIX}") from None
    return dict(found) if isinstance(found, dict) else {}
