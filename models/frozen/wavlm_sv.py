"""The voice by which published tables compare speech (SIM): WavLM large under an ECAPA-TDNN, as UniSpeech released it.

Chen et al. 2022 (arXiv 2110.13900), section V-B: a learned mean of all hidden states of WavLM, normalized over time,
goes through an ECAPA-TDNN of 512 channels (arXiv 2005.07143) to 256 numbers. The checkpoint keeps fairseq's names for
WavLM; the network here is that of transformers.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.frozen import Wave, WeightsError, code_of, fingerprint_of, local_file
from models.frozen.fairseq import TO_TRANSFORMERS, replaced, shape_of
from models.frozen.tensors import fill, read_tensors

FIX = "put wavlm_large_finetune.pth there (github.com/BytedanceSpeech/seed-tts-eval says where it is)"
SHORTEST = 1600
"""Samples: below 0.1 s there are too few frames to normalize over."""
LONGEST_DISTANCE = 800
"""Frames from which relative positions are all one; it cannot be read off the tensors."""
DILATIONS = (2, 3, 4)
SPLITS = 8
NAMES = {
    r"^feature_extract\.model\.layer_norm\.": "wavlm.feature_projection.layer_norm.",
    r"^feature_extract\.model\.": "wavlm.",
    r"\.self_attn\.grep_linear\.": ".attention.gru_rel_pos_linear.",
    r"\.self_attn\.grep_a$": ".attention.gru_rel_pos_const",
    r"\.self_attn\.relative_attention_bias\.": ".attention.rel_attn_embed.",
    **TO_TRANSFORMERS,
    r"^layer1\.": "first.",
    r"^layer([234])\.Conv1dReluBn1\.": r"blocks.\1.narrow.",
    r"^layer([234])\.Res2Conv1dReluBn\.": r"blocks.\1.split.",
    r"^layer([234])\.Conv1dReluBn2\.": r"blocks.\1.widen.",
    r"^layer([234])\.SE_Connect\.": r"blocks.\1.gate.",
    r"^pooling\.": "pool.",
}
"""Names of the release to ours."""


class WavLMSpeaker:
    """256-wide embeddings of unit length; similarity is the dot product. Waveforms go through one at a time, whole."""

    RATE_HZ = 16000

    def __init__(self, checkpoint: Path, *, device: str = "cpu") -> None:
        """Raises: WeightsError where there is no checkpoint."""
        self.path, self.device = local_file(checkpoint, what="WavLM speaker checkpoint", fix=FIX), device

    @property
    def fingerprint(self) -> str:
        """Version of the library, weights, and the code above WavLM, which is ours."""
        code = code_of("frozen/wavlm_sv.py", "frozen/fairseq.py")
        return fingerprint_of("wavlm_sv", package="transformers", weights=[self.path], code=code)

    def __call__(self, waves: Sequence[Wave]) -> list[NDArray[np.float32]]:
        """One embedding a waveform (16 kHz), in order; one below 0.1 s is repeated until it is as long."""
        return [self.embedding(wave_S) for wave_S in waves]

    def embedding(self, wave_S: Wave) -> NDArray[np.float32]:
        """Of one waveform; its level is taken off."""
        if len(wave_S) < SHORTEST:
            wave_S = np.resize(wave_S, SHORTEST) if len(wave_S) else np.zeros(SHORTEST, np.float32)
        with torch.inference_mode():
            raw_D = self._network(torch.from_numpy(wave_S).float()[None].to(self.device))[0]
            return np.asarray((raw_D / raw_D.norm().clamp_min(1e-6)).cpu().numpy(), dtype=np.float32)

    @cached_property
    def _network(self) -> "SpeakerNetwork":
        return loaded(self.path).to(self.device)


class NormedConv(nn.Module):
    """Convolution, ReLU, then batch normalization."""

    def __init__(self, inside: int, outside: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inside, outside, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm1d(outside)

    def forward(self, x_BCF: Tensor) -> Tensor:
        """Shapes: (B, C, F) -> (B, C', F)."""
        return cast(Tensor, self.bn(self.conv(x_BCF).relu()))


class Split(nn.Module):
    """Res2Net: the channels in eight groups; each but the last takes up the result of the one before."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.width = channels // SPLITS
        self.convs = nn.ModuleList(
            nn.Conv1d(self.width, self.width, 3, padding=dilation, dilation=dilation) for _ in range(SPLITS - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(self.width) for _ in range(SPLITS - 1))

    def forward(self, x_BCF: Tensor) -> Tensor:
        """Shapes: (B, C, F) -> (B, C, F)."""
        *groups, last = torch.split(x_BCF, self.width, dim=1)
        made: list[Tensor] = []
        for group, conv, bn in zip(groups, self.convs, self.bns, strict=True):
            made.append(bn(conv(made[-1] + group if made else group).relu()))
        return torch.cat([*made, last], dim=1)


class Gate(nn.Module):
    """Squeeze and excitation: every channel by a factor that the means of all channels decide."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(channels, width), nn.Linear(width, channels)

    def forward(self, x_BCF: Tensor) -> Tensor:
        """Shapes: (B, C, F) -> (B, C, F)."""
        factor_BC = torch.sigmoid(self.linear2(self.linear1(x_BCF.mean(dim=2)).relu()))
        return x_BCF * factor_BC.unsqueeze(2)


class Block(nn.Module):
    """A residual block of the ECAPA-TDNN."""

    def __init__(self, channels: int, dilation: int, gate: int) -> None:
        super().__init__()
        self.narrow, self.split = NormedConv(channels, channels, 1), Split(channels, dilation)
        self.widen, self.gate = NormedConv(channels, channels, 1), Gate(channels, gate)

    def forward(self, x_BCF: Tensor) -> Tensor:
        """Shapes: (B, C, F) -> (B, C, F)."""
        return cast(Tensor, x_BCF + self.gate(self.widen(self.split(self.narrow(x_BCF)))))


class AttentivePool(nn.Module):
    """Mean and standard deviation over the frames, each channel weighted by its own attention."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Conv1d(channels, width, 1), nn.Conv1d(width, channels, 1)

    def forward(self, x_BCF: Tensor) -> Tensor:
        """Shapes: (B, C, F) -> (B, 2 C)."""
        share_BCF = torch.softmax(self.linear2(torch.tanh(self.linear1(x_BCF))), dim=2)
        mean_BC = (share_BCF * x_BCF).sum(dim=2)
        variance_BC = (share_BCF * x_BCF.square()).sum(dim=2) - mean_BC.square()
        return torch.cat([mean_BC, variance_BC.clamp_min(1e-9).sqrt()], dim=1)


class SpeakerNetwork(nn.Module):
    """The published arithmetic."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """Widths and depth are those of the tensors, in the release's names.

        Raises: KeyError, IndexError for others.
        """
        super().__init__()
        from transformers import WavLMModel

        self.wavlm = WavLMModel(config_of(state))
        self.feature_weight = nn.Parameter(torch.empty_like(state["feature_weight"]))
        channels, features, kernel = state["layer1.conv.weight"].shape
        wide, gate = state["conv.weight"].shape[0], state["layer2.SE_Connect.linear1.weight"].shape[0]
        self.first = NormedConv(features, channels, kernel)
        self.blocks = nn.ModuleDict(
            {str(2 + n): Block(channels, dilation, gate) for n, dilation in enumerate(DILATIONS)}
        )
        self.conv = nn.Conv1d(len(DILATIONS) * channels, wide, 1)
        self.pool = AttentivePool(wide, state["pooling.linear1.weight"].shape[0])
        self.bn = nn.BatchNorm1d(2 * wide)
        self.linear = nn.Linear(2 * wide, state["linear.weight"].shape[0])

    def forward(self, wave_BS: Tensor) -> Tensor:
        """Shapes: (B, S) -> (B, D)."""
        out = self.wavlm(functional.layer_norm(wave_BS, wave_BS.shape[-1:]), output_hidden_states=True)
        # what goes into each layer, and what comes out of the last one's norm
        states = torch.stack([*out.hidden_states[:-1], out.last_hidden_state])
        share = torch.softmax(self.feature_weight, dim=0).view(-1, 1, 1, 1)
        x_BCF = functional.instance_norm((share * states).sum(dim=0).transpose(1, 2) + 1e-6)
        x_BCF = self.first(x_BCF)
        found = []
        for block in self.blocks.values():
            x_BCF = block(x_BCF)
            found.append(x_BCF)
        pooled = self.pool(self.conv(torch.cat(found, dim=1)).relu())
        return cast(Tensor, self.linear(self.bn(pooled)))


def config_of(state: Mapping[str, Tensor]) -> Any:
    """The WavLM that the tensors are of: norms before the layers, a layer norm in each convolution, no dropout."""
    from transformers import WavLMConfig

    root = "feature_extract.model"
    attention = f"{root}.encoder.layers.0.self_attn"
    return WavLMConfig(
        **shape_of(state, root),
        num_attention_heads=state[f"{attention}.grep_a"].shape[1],
        num_buckets=state[f"{attention}.relative_attention_bias.weight"].shape[0],
        max_bucket_distance=LONGEST_DISTANCE,
        conv_bias=f"{root}.feature_extractor.conv_layers.0.0.bias" in state,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )


def loaded(path: Path) -> SpeakerNetwork:
    """The network with the weights of the release, every tensor checked; what only training needs is left out.

    Raises: WeightsError, which names what is missing or of another shape.
    """
    state = read_tensors(path, fix=FIX)
    try:
        network = SpeakerNetwork(state)
    except (KeyError, IndexError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"{path} is no WavLM speaker checkpoint (it lacks {error}); {FIX}") from None
    ours = {replaced(name, NAMES): value for name, value in state.items()}
    wanted = network.state_dict()
    fill(network, {name: value for name, value in ours.items() if name in wanted}, path=path, fix=FIX)
    return network


def verifier(checkpoint: Path | None, *, device: str = "cpu") -> WavLMSpeaker:
    """The network with the weights at `checkpoint`. It compares whole utterances; it was not measured on windows.

    Raises: WeightsError
    """
    if checkpoint is None:
        raise WeightsError(f"wavlm_sv needs checkpoint: the path of its weights; {FIX}")
    return WavLMSpeaker(checkpoint, device=device)
