"""UTMOS22 strong: both released layouts load, and the score is that of the published arithmetic."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.frozen import WeightsError
from models.frozen.utmos import Utmos
from tests.utmos_checkpoint import (
    CHANNELS,
    EMBEDDING,
    HEADS,
    HIDDEN,
    LAYERS,
    STRIDES,
    WIDTH,
    lightning,
    speechmos,
)


def published(state: Mapping[str, Tensor], wave: Tensor) -> float:
    """The arithmetic of SpeechMOS' class, written out without a module of ours or of transformers."""
    x = wave[None, None]
    for number, stride in enumerate(STRIDES):
        x = functional.conv1d(x, state[f"wav2vec2.feature_extractor.conv_layers.{number}.0.weight"], stride=stride)
        if number == 0:
            name = "wav2vec2.feature_extractor.conv_layers.0.2"
            x = functional.group_norm(x, CHANNELS, state[f"{name}.weight"], state[f"{name}.bias"])
        x = functional.gelu(x)

    def norm(value: Tensor, name: str) -> Tensor:
        return functional.layer_norm(value, value.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(value: Tensor, name: str) -> Tensor:
        return value @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    x = linear(norm(x[0].T, "wav2vec2.layer_norm"), "wav2vec2.post_extract_proj")
    direction, size = (state[f"wav2vec2.encoder.pos_conv.0.weight_{letter}"] for letter in "vg")
    kernel = size * direction / direction.square().sum(dim=(0, 1), keepdim=True).sqrt()
    bias = state["wav2vec2.encoder.pos_conv.0.bias"]
    place = functional.gelu(functional.conv1d(x.T[None], kernel, bias, padding=64, groups=16)[0, :, :-1])
    x = norm(x + place.T, "wav2vec2.encoder.layer_norm")
    for number in range(LAYERS):
        layer = f"wav2vec2.encoder.layers.{number}"
        split = [
            linear(x, f"{layer}.self_attn.{part}_proj").view(len(x), HEADS, -1).transpose(0, 1)
            for part in ("q", "k", "v")
        ]
        weights = torch.softmax(split[0] @ split[1].transpose(1, 2) / (WIDTH / HEADS) ** 0.5, dim=-1)
        heard = (weights @ split[2]).transpose(0, 1).reshape(len(x), WIDTH)
        x = norm(x + linear(heard, f"{layer}.self_attn.out_proj"), f"{layer}.self_attn_layer_norm")
        inner = functional.gelu(linear(x, f"{layer}.fc1"))
        x = norm(x + linear(inner, f"{layer}.fc2"), f"{layer}.final_layer_norm")
    x = torch.cat([x, state["domain_emb"].expand(len(x), -1), state["judge_emb"].expand(len(x), -1)], dim=1)
    both = []
    for ending, order in (("", 1), ("_reverse", -1)):
        hidden, cell, out = torch.zeros(HIDDEN), torch.zeros(HIDDEN), []
        for frame in x[::1] if order == 1 else x.flip(0):
            gates = state[f"blstm.weight_ih_l0{ending}"] @ frame + state[f"blstm.bias_ih_l0{ending}"]
            gates = gates + state[f"blstm.weight_hh_l0{ending}"] @ hidden + state[f"blstm.bias_hh_l0{ending}"]
            enter, forget, new, leave = gates.chunk(4)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
            out.append(hidden)
        both.append(torch.stack(out[::order]))
    score = linear(torch.relu(linear(torch.cat(both, dim=1), "projection.0")), "projection.2")
    return float(score.mean() * 2 + 3)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("utmos") / "utmos22_strong_step7459_v1.pt"
    torch.save(speechmos(), path)
    return path


def waves(*lengths: int) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.normal(0, 0.1, size=length).astype(np.float32) for length in lengths]


def test_the_score_is_that_of_the_published_arithmetic_at_any_length(released: Path) -> None:
    given = waves(400, 16000, 16320, 40001)
    expected = [published(speechmos(), torch.from_numpy(wave)) for wave in given]
    assert np.ptp(expected) > 1e-3, "the small network must hear a difference"
    np.testing.assert_allclose(Utmos(released)(given), expected, atol=1e-4)


def test_both_layouts_give_the_same_score_and_no_object_of_the_checkpoint_is_made(
    released: Path, tmp_path: Path
) -> None:
    path = tmp_path / "epoch=3-step=7459.ckpt"
    torch.save(lightning(speechmos()), path)
    with pytest.raises(Exception, match="weights_only"):
        torch.load(path, weights_only=True)
    given = waves(16000, 24000)
    assert Utmos(path)(given) == Utmos(released)(given)


def test_a_score_depends_on_its_own_waveform_alone_and_too_short_ones_have_none(released: Path) -> None:
    model = Utmos(released)
    given = waves(16000, 399, 24000, 0)
    first = model(given)
    assert first[1] is None
    assert first[3] is None
    assert model(given[::-1])[::-1] == first


def test_code_in_a_checkpoint_does_not_run(released: Path, tmp_path: Path) -> None:
    import os
    import shutil

    class Evil:
        def __init__(self, function: Any, *given: str) -> None:
            self.call = function, given

        def __reduce__(self) -> tuple[Any, ...]:
            return self.call

    made, path = tmp_path / "made", tmp_path / "evil.ckpt"
    torch.save({"state_dict": speechmos(), "hyper_parameters": Evil(shutil.copyfile, str(released), str(made))}, path)
    assert Utmos(path)(waves(16000)) == Utmos(released)(waves(16000)), "the settings are skipped"
    torch.save({"state_dict": speechmos(), "hyper_parameters": Evil(os.mkdir, str(made))}, path)
    with pytest.raises(WeightsError, match="cannot be read"):
        Utmos(path)(waves(16000))
    assert not made.exists()


def test_missing_unknown_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    state = speechmos()
    wrong = {name: value for name, value in state.items() if name != "wav2vec2.encoder.layers.1.fc2.bias"}
    wrong |= {"projection.0.bias": torch.zeros(3), "extra.weight": torch.zeros(1)}
    torch.save(wrong, tmp_path / "wrong.pt")
    with pytest.raises(WeightsError) as caught:
        Utmos(tmp_path / "wrong.pt")(waves(16000))
    said = str(caught.value)
    assert "no wav2vec2.encoder.layers.1.feed_forward.output_dense.bias" in said
    assert "an unknown extra.weight" in said
    assert "projection.0.bias of shape (3,) instead of (32,)" in said


def test_what_is_no_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no UTMOS checkpoint at .*none\.pt; put utmos22_strong_step7459_v1\.pt"):
        Utmos(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
        Utmos(tmp_path / "text.pt")(waves(16000))
    torch.save({"blstm.weight_ih_l0": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="is no UTMOS22 checkpoint"):
        Utmos(tmp_path / "other.pt")(waves(16000))
    few = lightning(speechmos())
    few["state_dict"]["output_layers.0.judge_embedding.weight"] = torch.zeros(5, EMBEDDING)
    torch.save(few, tmp_path / "few.ckpt")
    with pytest.raises(WeightsError, match=r"has 5 rows in .*judge_embedding\.weight, and the demo uses number 288"):
        Utmos(tmp_path / "few.ckpt")(waves(16000))


def test_fingerprint_follows_the_weights(released: Path, tmp_path: Path) -> None:
    torch.save(speechmos(seed=1), tmp_path / "other.pt")
    assert Utmos(released).fingerprint != Utmos(tmp_path / "other.pt").fingerprint
