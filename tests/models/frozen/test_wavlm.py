"""The WavLM loader, on a small random checkpoint in the format of the released one."""

from pathlib import Path

import pytest
import torch

from models.frozen import WeightsError
from models.frozen.wavlm import WavLM


def save(folder: Path, *, norm: str) -> Path:
    """A WavLM with two small layers; `norm` as in wavlm-large (layer) or wavlm-base (group)."""
    from transformers import WavLMConfig, WavLMModel

    torch.manual_seed(0)
    config = WavLMConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[8] * 7,
        feat_extract_norm=norm,
        conv_bias=norm == "layer",
        do_stable_layer_norm=norm == "layer",
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        num_buckets=32,
    )
    WavLMModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_padding_changes_no_feature(tmp_path: Path, norm: str) -> None:
    wavlm = WavLM(save(tmp_path / "wavlm", norm=norm), layer=1)
    wave_BS = torch.randn(2, 15 * 1920)
    wave_BS[1, 8 * 1920 :] = 0
    length_B = torch.tensor([15 * 1920, 8 * 1920])
    both = wavlm.features(wave_BS, length_B, hop=1920)
    alone = wavlm.features(wave_BS[1:, : 8 * 1920], length_B[1:], hop=1920)
    assert both.shape == (2, 15, 16)
    torch.testing.assert_close(both[1:, :8], alone, atol=1e-5, rtol=1e-4)
    assert torch.all(both[1, 8:] == 0)
    assert wavlm.normalizes == (norm == "layer")


def test_it_is_frozen_and_repeats_itself_even_when_told_to_train(tmp_path: Path) -> None:
    wavlm = WavLM(save(tmp_path / "wavlm", norm="layer"), layer=2).train()
    assert not wavlm.model.training
    assert not any(parameter.requires_grad for parameter in wavlm.parameters())
    wave_BS, length_B = torch.randn(1, 9600), torch.tensor([9600])
    first, again = (wavlm.features(wave_BS, length_B, hop=1920) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, WavLM(tmp_path / "wavlm", layer=0).features(wave_BS, length_B, hop=1920))


def test_features_are_those_of_float32_also_where_a_stage_computes_in_bfloat16(tmp_path: Path) -> None:
    wavlm = WavLM(save(tmp_path / "wavlm", norm="layer"), layer=1)
    wave_BS, length_B = torch.randn(1, 9600), torch.tensor([9600])
    with torch.autocast("cpu", torch.bfloat16):
        found = wavlm.features(wave_BS, length_B, hop=1920)
    assert torch.equal(found, wavlm.features(wave_BS, length_B, hop=1920))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no WavLM at .*nowhere.*nothing is downloaded"):
        WavLM(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"no model\.safetensors or pytorch_model\.bin in"):
        WavLM(tmp_path)
    with pytest.raises(WeightsError, match="no layer 23"):
        WavLM(save(tmp_path / "wavlm", norm="layer"))


def test_the_layout_of_the_released_large_one_gives_the_same_and_runs_no_code(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = save(tmp_path / "wavlm", norm="layer")
    wave_BS, length_B = torch.randn(1, 9600), torch.tensor([9600])
    expected = WavLM(folder, layer=2).features(wave_BS, length_B, hop=1920)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    old = {"0": "weight_g", "1": "weight_v"}
    start = "encoder.pos_conv_embed.conv.parametrizations.weight.original"
    released = {
        f"encoder.pos_conv_embed.conv.{old[name[-1]]}" if name.startswith(start) else name: value
        for name, value in tensors.items()
    }
    torch.save(released, folder / "pytorch_model.bin")
    assert torch.equal(WavLM(folder, layer=2).features(wave_BS, length_B, hop=1920), expected)
    torch.save({"encoder": tmp_path}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="cannot be loaded as a WavLM"):
        WavLM(folder, layer=2)


def test_a_tensor_that_is_not_there_is_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save(tmp_path / "wavlm", norm="layer")
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in tensors.items() if name != "encoder.layers.1.attention.k_proj.weight"},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(WeightsError, match=r"lacks 1 tensors \(encoder\.layers\.1\.attention\.k_proj\.weight\)"):
        WavLM(folder, layer=1)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", "version https://git-lfs.github.com/spec/v1", "cannot be loaded as a WavLM"),
        ("config.json", '{"model_type": "hubert"}', "is of a hubert, and no wavlm"),
        ("config.json", "{", r"config\.json is no JSON"),
        ("preprocessor_config.json", "{", r"preprocessor_config\.json is no JSON"),
    ],
)
def test_a_broken_file_is_a_sentence(tmp_path: Path, name: str, content: str, said: str) -> None:
    folder = save(tmp_path / "wavlm", norm="layer")
    (folder / name).write_text(content)
    with pytest.raises(WeightsError, match=said):
        WavLM(folder, layer=1)
