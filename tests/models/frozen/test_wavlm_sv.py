"""WavLM under an ECAPA-TDNN: the released layout loads, and the embedding is that of the published arithmetic."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.frozen import WeightsError
from models.frozen.wavlm_sv import WavLMSpeaker, verifier
from tests.wavlm_sv_checkpoint import BUCKETS, GROUPS, HEADS, KERNELS, LAYERS, OUT, ROOT, TAPS, WIDTH, release

STRIDES = (5, 2, 2, 2, 2, 2, 2)
State = Mapping[str, Tensor]


def norm(state: State, x: Tensor, name: str) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def linear(state: State, x: Tensor, name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def distance_bias(state: State, frames: int) -> Tensor:
    """(heads, frames, frames) by the distance of key and query: half of the buckets for what comes later."""
    half, exact = BUCKETS // 2, BUCKETS // 4
    rows = torch.empty(frames, frames, dtype=torch.long)
    for query in range(frames):
        for key in range(frames):
            away = abs(key - query)
            if away >= exact:
                away = min(half - 1, exact + int(math.log(away / exact) / math.log(800 / exact) * (half - exact)))
            rows[query, key] = away + (half if key > query else 0)
    table = state[f"{ROOT}.encoder.layers.0.self_attn.relative_attention_bias.weight"]
    return table[rows].permute(2, 0, 1)


def attended(state: State, x: Tensor, layer: str, bias: Tensor) -> Tensor:
    """Self-attention whose distance bias every query opens or closes by a gate of its own."""
    query, key, value = (
        linear(state, x, f"{layer}.self_attn.{part}_proj").view(len(x), HEADS, -1).transpose(0, 1) for part in "qkv"
    )
    split = x.view(len(x), HEADS, -1).transpose(0, 1)
    first, second = (
        linear(state, split, f"{layer}.self_attn.grep_linear").view(HEADS, len(x), 2, 4).sum(-1).sigmoid().unbind(-1)
    )
    gate = first * (second * state[f"{layer}.self_attn.grep_a"].view(HEADS, 1) - 1) + 2
    weights = query @ key.transpose(1, 2) / (WIDTH / HEADS) ** 0.5 + gate[:, :, None] * bias
    heard = (weights.softmax(dim=-1) @ value).transpose(0, 1).reshape(len(x), WIDTH)
    return linear(state, heard, f"{layer}.self_attn.out_proj")


def hidden_states(state: State, wave: Tensor) -> list[Tensor]:
    """What goes into each layer of WavLM, and what leaves the last norm: (frames, width) each."""
    x = functional.layer_norm(wave, wave.shape)[None, None]
    for number, (_, stride) in enumerate(zip(KERNELS, STRIDES, strict=True)):
        name = f"{ROOT}.feature_extractor.conv_layers.{number}"
        x = functional.conv1d(x, state[f"{name}.0.weight"], stride=stride)
        x = functional.gelu(norm(state, x.transpose(1, 2), f"{name}.2.1").transpose(1, 2))
    x = linear(state, norm(state, x[0].T, f"{ROOT}.layer_norm"), f"{ROOT}.post_extract_proj")
    direction, size = (state[f"{ROOT}.encoder.pos_conv.0.weight_{letter}"] for letter in "vg")
    kernel = size * direction / direction.square().sum(dim=(0, 1), keepdim=True).sqrt()
    bias = state[f"{ROOT}.encoder.pos_conv.0.bias"]
    placed = functional.conv1d(x.T[None], kernel, bias, padding=TAPS // 2, groups=GROUPS)[0, :, :-1]
    x = x + functional.gelu(placed).T
    found, near = [x], distance_bias(state, len(x))
    for number in range(LAYERS):
        layer = f"{ROOT}.encoder.layers.{number}"
        x = x + attended(state, norm(state, x, f"{layer}.self_attn_layer_norm"), layer, near)
        inner = functional.gelu(linear(state, norm(state, x, f"{layer}.final_layer_norm"), f"{layer}.fc1"))
        x = x + linear(state, inner, f"{layer}.fc2")
        found.append(x)
    return [*found[:-1], norm(state, x, f"{ROOT}.encoder.layer_norm")]


def published(state: State, wave: Tensor) -> Tensor:
    """The arithmetic of UniSpeech's classes, written out without a module of ours or of transformers."""

    def conv(x: Tensor, name: str, **how: int) -> Tensor:
        return functional.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"], **how)

    def batch_norm(x: Tensor, name: str) -> Tensor:
        values = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x, *values)

    share = state["feature_weight"].softmax(dim=0)
    mixed = sum(weight * one for weight, one in zip(share, hidden_states(state, wave), strict=True))
    assert isinstance(mixed, Tensor)
    x = mixed.T[None]
    x = (x - x.mean(dim=2, keepdim=True)) / (x.var(dim=2, keepdim=True, correction=0) + 1e-5).sqrt()
    x = batch_norm(conv(x, "layer1.conv", padding=2).relu(), "layer1.bn")
    found = []
    for number in (2, 3, 4):
        layer, before = f"layer{number}", x
        x = batch_norm(conv(x, f"{layer}.Conv1dReluBn1.conv").relu(), f"{layer}.Conv1dReluBn1.bn")
        groups, made = x.chunk(8, dim=1), torch.zeros(())
        told = []
        for at, group in enumerate(groups[:-1]):
            name = f"{layer}.Res2Conv1dReluBn"
            made = conv(made + group, f"{name}.convs.{at}", padding=number, dilation=number).relu()
            made = batch_norm(made, f"{name}.bns.{at}")
            told.append(made)
        x = torch.cat([*told, groups[-1]], dim=1)
        x = batch_norm(conv(x, f"{layer}.Conv1dReluBn2.conv").relu(), f"{layer}.Conv1dReluBn2.bn")
        gate = linear(
            state, linear(state, x.mean(dim=2), f"{layer}.SE_Connect.linear1").relu(), f"{layer}.SE_Connect.linear2"
        )
        x = before + x * gate.sigmoid()[:, :, None]
        found.append(x)
    x = conv(torch.cat(found, dim=1), "conv").relu()
    weights = conv(conv(x, "pooling.linear1").tanh(), "pooling.linear2").softmax(dim=2)
    mean = (weights * x).sum(dim=2)
    deviation = ((weights * x.square()).sum(dim=2) - mean.square()).clamp(min=1e-9).sqrt()
    out = linear(state, batch_norm(torch.cat([mean, deviation], dim=1), "bn"), "linear")[0]
    return out / out.norm()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wavlm_sv") / "wavlm_large_finetune.pth"
    torch.save(release(), path)
    return path


def sound(seconds: float, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(16000 * seconds))).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.3, 1.7])
def test_the_embedding_is_that_of_the_published_arithmetic(checkpoint: Path, seconds: float) -> None:
    wave = sound(seconds)
    (found,) = verifier(checkpoint)([wave])
    wanted = published(release()["model"], torch.from_numpy(wave))
    assert found.shape == (OUT,)
    assert np.abs(found - wanted.numpy()).max() < 1e-5


def test_one_embedding_a_waveform_whatever_comes_with_it(checkpoint: Path) -> None:
    waves = [sound(0.5, 1), sound(1.0, 2), sound(0.02, 3), np.zeros(0, np.float32)]
    together = verifier(checkpoint)(waves)
    for wave, vector in zip(waves, together, strict=True):
        assert np.array_equal(verifier(checkpoint)([wave])[0], vector)
        assert np.isfinite(vector).all()
    quieter = verifier(checkpoint)([0.1 * waves[0]])[0]
    assert float(quieter @ together[0]) > 0.999, "WavLM large hears normalized waveforms"
    assert abs(float(together[0] @ together[1])) < 0.999


def test_a_tensor_that_is_missing_or_misshapen_is_named(tmp_path: Path) -> None:
    state = release()
    del state["model"]["layer3.SE_Connect.linear2.bias"]
    state["model"][f"{ROOT}.encoder.layers.1.fc2.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(WeightsError, match="lacks blocks.3.gate.linear2.bias") as told:
        verifier(tmp_path / "broken.pth")([sound(0.3)])
    assert "wavlm.encoder.layers.1.feed_forward.output_dense.bias of shape (3,), not (32,)" in str(told.value)


def test_what_is_no_such_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no WavLM speaker checkpoint at .*gone.pth; put wavlm_large_finetune.pth"):
        verifier(tmp_path / "gone.pth")
    with pytest.raises(WeightsError, match="wavlm_sv needs checkpoint"):
        verifier(None)
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="is no WavLM speaker checkpoint"):
        verifier(tmp_path / "other.pth")([sound(0.3)])


def test_fingerprint_follows_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    torch.save(release(seed=1), tmp_path / "other.pth")
    assert WavLMSpeaker(checkpoint).fingerprint == verifier(checkpoint).fingerprint
    assert WavLMSpeaker(checkpoint).fingerprint != WavLMSpeaker(tmp_path / "other.pth").fingerprint
