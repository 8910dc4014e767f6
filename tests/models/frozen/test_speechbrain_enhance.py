"""SpeechBrain's enhancers: small folders as the hub lays them out give what SpeechBrain itself makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.frozen import WeightsError
from models.frozen.speechbrain_enhance import SpeechbrainEnhance, enhancer

METRICGAN = """
sample_rate: 16000
n_fft: 512
window_fn: !name:torch.hamming_window
data_folder: !PLACEHOLDER
enhance_model: !new:speechbrain.lobes.models.MetricGAN.EnhancementGenerator
    input_size: !ref <n_fft> // 2 + 1
    hidden_size: 200
    num_layers: 1
    dropout: 0
modules: {enhance_model: !ref <enhance_model>}
compute_stft: !new:speechbrain.processing.features.STFT
    sample_rate: !ref <sample_rate>
    win_length: 32
    hop_length: 16
    n_fft: !ref <n_fft>
    window_fn: !ref <window_fn>
compute_istft: !new:speechbrain.processing.features.ISTFT
    sample_rate: !ref <sample_rate>
    win_length: 32
    hop_length: 16
    window_fn: !ref <window_fn>
spectral_magnitude: !name:speechbrain.processing.features.spectral_magnitude
    power: 0.5
resynth: !name:speechbrain.processing.signal_processing.resynthesize
    stft: !ref <compute_stft>
    istft: !ref <compute_istft>
    normalize_wavs: False
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables: {enhance_model: !ref <enhance_model>}
"""
SEPFORMER = """
sample_rate: 16000
num_spks: 1
N: 16
Encoder: !new:speechbrain.lobes.models.dual_path.Encoder {kernel_size: 16, out_channels: !ref <N>}
SBtfintra: !new:speechbrain.lobes.models.dual_path.SBTransformerBlock
    {num_layers: 1, d_model: !ref <N>, nhead: 2, d_ffn: 32, use_positional_encoding: True, norm_before: True}
SBtfinter: !new:speechbrain.lobes.models.dual_path.SBTransformerBlock
    {num_layers: 1, d_model: !ref <N>, nhead: 2, d_ffn: 32, use_positional_encoding: True, norm_before: True}
MaskNet: !new:speechbrain.lobes.models.dual_path.Dual_Path_Model
    num_spks: !ref <num_spks>
    in_channels: !ref <N>
    out_channels: !ref <N>
    num_layers: 1
    K: 50
    intra_model: !ref <SBtfintra>
    inter_model: !ref <SBtfinter>
    norm: ln
    linear_layer_after_inter_intra: False
    skip_around_intra: True
Decoder: !new:speechbrain.lobes.models.dual_path.Decoder
    {in_channels: !ref <N>, out_channels: 1, kernel_size: 16, stride: 8, bias: False}
modules: {encoder: !ref <Encoder>, decoder: !ref <Decoder>, masknet: !ref <MaskNet>}
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables: {encoder: !ref <Encoder>, masknet: !ref <MaskNet>, decoder: !ref <Decoder>}
"""
TEXTS = {"metricgan": METRICGAN, "sepformer": SEPFORMER}


def write(folder: Path, text: str) -> Path:
    """A folder as the hub has it, with random weights, made by SpeechBrain's own loader (the text is ours: trusted)."""
    from hyperpyyaml import load_hyperpyyaml

    folder.mkdir(exist_ok=True)
    (folder / "hyperparams.yaml").write_text(text)
    torch.manual_seed(0)
    made = load_hyperpyyaml(text.replace("!PLACEHOLDER", "x"))
    for name, module in made["modules"].items():
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        torch.save(module.state_dict(), folder / f"{name}.ckpt")
    return folder


@pytest.fixture(scope="module", params=sorted(TEXTS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("speechbrain") / request.param, TEXTS[request.param])


def waves(*lengths: int) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.normal(0, 0.1, size=length).astype(np.float32) for length in lengths]


def theirs(folder: Path, wave: Any) -> Any:
    """What SpeechBrain's own interface makes of a waveform."""
    from speechbrain.inference.enhancement import SpectralMaskEnhancement
    from speechbrain.inference.separation import SepformerSeparation
    from speechbrain.utils.fetching import FetchConfig

    kind = SpectralMaskEnhancement if folder.name == "metricgan" else SepformerSeparation
    overrides = {"data_folder": "x"} if folder.name == "metricgan" else {}
    model = kind.from_hparams(
        source=str(folder), savedir=None, fetch_config=FetchConfig(allow_network=False), overrides=overrides
    )
    given = torch.from_numpy(wave)[None]
    with torch.no_grad():
        if folder.name == "metricgan":
            return model.enhance_batch(given, lengths=torch.ones(1))[0].numpy()
        return model.separate_batch(given)[0, :, 0].numpy()


def test_it_gives_what_speechbrain_gives_at_the_level_of_its_input(folder: Path) -> None:
    wave = waves(12345)[0]
    expected = theirs(folder, wave)
    expected = expected * np.dot(expected, wave) / np.dot(expected, expected)
    model = SpeechbrainEnhance(folder)
    assert model.RATE_HZ == 16000
    np.testing.assert_allclose(model([wave])[0], expected, atol=1e-5)


def test_lengths_stay_and_a_waveform_depends_on_no_other(folder: Path) -> None:
    model = SpeechbrainEnhance(folder)
    given = [*waves(16000, 1600, 20001, 100, 0), np.zeros(8000, np.float32)]
    found = model(given)
    assert [len(wave) for wave in found] == [len(wave) for wave in given]
    assert not found[-1].any()
    again = model(given[::-1])[::-1]
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))


def test_missing_and_misshapen_tensors_are_named(folder: Path, tmp_path: Path) -> None:
    copy = write(tmp_path / folder.name, TEXTS[folder.name])
    path = next(iter(sorted(copy.glob("*.ckpt"))))
    state = torch.load(path, weights_only=True)
    name = sorted(state)[0]
    torch.save({**{key: value for key, value in state.items() if key != name}, "more": torch.zeros(1)}, path)
    with pytest.raises(WeightsError) as caught:
        SpeechbrainEnhance(copy)(waves(3200))
    assert f"lacks {name}" in str(caught.value)
    assert "has the unknown more" in str(caught.value)


def test_fingerprint_follows_settings_and_weights(folder: Path, tmp_path: Path) -> None:
    copy = write(tmp_path / folder.name, TEXTS[folder.name])
    same = SpeechbrainEnhance(copy).fingerprint
    assert same.startswith("speechbrain_enhance/speechbrain-")
    (copy / "hyperparams.yaml").write_text(TEXTS[folder.name] + "\nmore: 1\n")
    assert SpeechbrainEnhance(copy).fingerprint.split("/")[2] != "none"
    other = tmp_path / "other"
    other.mkdir()
    for file in copy.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    assert SpeechbrainEnhance(other).fingerprint != same


def test_folders_that_are_none_or_ask_for_other_code_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="needs checkpoint"):
        enhancer(None, device="cpu")
    with pytest.raises(WeightsError, match=r"no SpeechBrain folder at .*none; put a folder of the hub"):
        SpeechbrainEnhance(tmp_path / "none")
    with pytest.raises(WeightsError, match=r"no hyperparameters at"):
        SpeechbrainEnhance(tmp_path)
    path = tmp_path / "hyperparams.yaml"
    path.write_text("modules: {embedding_model: 1}")
    with pytest.raises(WeightsError, match=r"names modules \['embedding_model'\], not those of an enhancement"):
        SpeechbrainEnhance(tmp_path)
    path.write_text("modules: {enhance_model: !ref <x>}\nx: !apply:os.mkdir [made]\n" + METRICGAN.split("modules")[0])
    with pytest.raises(WeightsError, match=r"no weights at .*enhance_model\.ckpt"):
        SpeechbrainEnhance(tmp_path)
    two = write(tmp_path / "two", SEPFORMER.replace("num_spks: 1", "num_spks: 2"))
    with pytest.raises(WeightsError, match="separates 2 voices and enhances none"):
        SpeechbrainEnhance(two)(waves(3200))
