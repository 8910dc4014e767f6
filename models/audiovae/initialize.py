"""Variance-preserving start of an AudioVAE: without it the signal fades on its way and the posterior collapses.

Layer-sequential unit-variance initialization (Mishkin and Matas, 2016), on seeded noise with the loudness and the
pauses of speech: one forward pass in which every layer is scaled to a stated output level as the signal reaches it.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from models.audiovae.blocks import WeightNormConv
from models.audiovae.decoder import AMPBlock
from models.audiovae.encoder import ResidualStack
from models.audiovae.vae import AudioVAE

RESIDUAL_LEVEL = 0.3
"""Output level of a residual branch: deep stacks stay near unit level."""
WAVE_LEVEL = 0.1
"""Output level of the last convolution: the clamp to [-1, 1] has no gradient outside."""
LOG_STD = -4.0
"""Where the posterior's log standard deviation starts: far below the level of the means, which is 1."""


def speech_like_noise(*, batch: int, samples: int, rate_hz: int, seed: int) -> Tensor:
    """Harmonics of a wandering pitch plus noise, in syllables with pauses; shape (B, S), rms near 0.1."""
    draw = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / rate_hz
    waves = []
    for _ in range(batch):
        pitch, wander, pace, phase = torch.rand(4, generator=draw).tolist()
        hertz = (90 + 160 * pitch) * (1 + 0.1 * torch.sin(2 * math.pi * (1 + wander) * time))
        turn = 2 * math.pi * torch.cumsum(hertz, 0) / rate_hz
        voice = torch.stack([torch.sin(number * turn) / number for number in range(1, 25)]).sum(0)
        syllables = torch.sin(2 * math.pi * (3 + 2 * pace) * time + 6 * phase).clamp(min=0)
        wave = voice * syllables + 0.05 * torch.randn(samples, generator=draw)
        waves.append(0.1 * wave / wave.square().mean().sqrt())
    return torch.stack(waves)


def levels(vae: AudioVAE) -> Iterator[tuple[nn.Module, float]]:
    """Every linear and convolutional layer, and the output level that it is scaled to."""
    residual = set()
    for module in vae.modules():
        if isinstance(module, ResidualStack):
            residual |= {unit["5"] for unit in module.layers}  # type: ignore[index]
        elif isinstance(module, AMPBlock):
            residual |= set(module.convs2)
    for module in vae.modules():
        if isinstance(module, WeightNormConv | nn.Conv1d | nn.ConvTranspose1d | nn.Linear):
            level = RESIDUAL_LEVEL if module in residual else 1.0
            yield module, WAVE_LEVEL if module is vae.decoder.conv_post else level


@torch.no_grad()
def initialize(vae: AudioVAE, *, seed: int, wave_BS: Tensor | None = None) -> None:
    """Redraw all weights from `seed` and scale them, layer by layer, on `wave_BS` or on speech-like noise."""
    draw = torch.Generator().manual_seed(seed)
    config = vae.config
    if wave_BS is None:
        wave_BS = speech_like_noise(batch=2, samples=24 * config.hop, rate_hz=config.sample_rate, seed=seed + 1)
    for name, parameter in vae.named_parameters():
        if name.endswith((".alpha", ".beta", ".filter")):
            continue
        if ".lstm." in name:
            bound = parameter.shape[0] ** -0.5 * 2  # 1 / sqrt(width): the rows are 4 gates
            parameter.uniform_(-bound, bound, generator=draw)
        elif parameter.dim() > 1:
            parameter.normal_(generator=draw)
        else:
            parameter.zero_()
    hooks = [layer.register_forward_hook(scaled_to(level)) for layer, level in levels(vae)]
    posterior = vae.posterior(vae.audio_encoder.generator(wave_BS.unsqueeze(1)))  # `encode` would not call every layer
    vae.decode(posterior.mean_BFD)
    for hook in hooks:
        hook.remove()
    half = config.latent_dim
    vae.pre_proj.weight[half:] *= 0.1
    assert vae.pre_proj.bias is not None
    vae.pre_proj.bias[half:] = LOG_STD


def scaled_to(level: float) -> Any:
    """A forward hook that scales a layer without bias so that its output has standard deviation `level`."""

    def hook(layer: nn.Module, _: Any, output: Tensor) -> Tensor:
        factor = level / output.std().clamp(min=1e-8)
        weight = layer.weight_g if isinstance(layer, WeightNormConv) else layer.weight
        assert isinstance(weight, Tensor)
        weight.mul_(factor)
        return output * factor

    return hook
