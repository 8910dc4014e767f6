"""CAM++ against the official recordings, and its promise that padding changes nothing."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.speaker.campplus import SpeakerEncoder, pooled
from models.speaker.fbank import fbank, frames_in, hann_kernel, without_mean


@pytest.fixture(scope="module")
def official(shared: Path) -> SpeakerEncoder:
    encoder = SpeakerEncoder()
    encoder.load_state_dict(load_file(shared / "parity" / "tiny_ckpt" / "speaker_encoder.safetensors"), strict=True)
    return encoder


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, Tensor]:
    return load_file(shared / "parity" / "fixtures" / "speaker.safetensors")


def error(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.shared
def test_front_end_matches(shared: Path, official: SpeakerEncoder, recorded: dict[str, Tensor]) -> None:
    signals = load_file(shared / "parity" / "fixtures" / "resample_fbank.safetensors")
    assert torch.equal(hann_kernel(), official.resample.kernel)
    assert error(official.resample(signals["a48k"]), signals["a16k_default"]) < 1e-4
    assert error(fbank(signals["a16k_default"])[0], signals["fbank16k_raw"]) < 1e-4
    assert error(without_mean(fbank(signals["a16k_default"]))[0], signals["fbank16k_meannorm"]) < 1e-4
    assert error(without_mean(fbank(signals["a16k_hq"]))[0], signals["fbank_training_path"]) < 1e-4
    assert error(official.features(recorded["wav"][0]), recorded["fbank"][0]) < 1e-4


@pytest.mark.shared
@torch.no_grad()
def test_embedding_matches(official: SpeakerEncoder, recorded: dict[str, Tensor]) -> None:
    assert error(official.model.head(recorded["fbank"].transpose(1, 2)), recorded["head_out"]) < 1e-3
    assert error(official.model(recorded["fbank"], recorded["fbank_len"]), recorded["embedding"]) < 1e-3
    assert error(official.embed(recorded["wav"]), recorded["embedding"]) < 1e-3


@pytest.mark.shared
@torch.no_grad()
def test_a_padded_batch_matches_with_masked_pooling(official: SpeakerEncoder, recorded: dict[str, Tensor]) -> None:
    length_B = -(-recorded["batch_lengths"] // 3)
    energies = fbank(official.resample(recorded["batch_wav"][:, 0]))
    frames_B = frames_in(length_B)
    assert error(official.model(without_mean(energies, frames_B), frames_B), recorded["batch_embedding"]) < 1e-3


@pytest.mark.shared
def test_padding_changes_nothing_in_embed(official: SpeakerEncoder, recorded: dict[str, Tensor]) -> None:
    found = official.embed(recorded["batch_wav"][:, 0], recorded["batch_lengths"])
    assert error(found[1:], recorded["batch_single_b"]) < 1e-3


def test_long_audio_is_cropped_where_it_is_told() -> None:
    torch.manual_seed(0)
    encoder, wave_S = SpeakerEncoder(), torch.randn(60000)
    cropped = encoder.features(wave_S, crop_start=9600, max_seconds=0.5)
    torch.testing.assert_close(cropped, encoder.features(wave_S[9600:33600]))
    assert len(encoder.features(wave_S, max_seconds=0)) == 1 + (20000 - 400) // 160
    with pytest.raises(ValueError, match="too short"):
        encoder.features(wave_S[:100])


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 24000, 44100, 48000])
def test_every_rate_comes_to_16_khz_as_torchaudio_does_it(rate_hz: int) -> None:
    from torchaudio.transforms import Resample

    wave_BS = torch.randn(2, 3001, generator=torch.Generator().manual_seed(0))
    expected = Resample(rate_hz, 16000)(wave_BS)
    # torchaudio computes the phases in float32
    torch.testing.assert_close(SpeakerEncoder(rate_hz=rate_hz).resample(wave_BS), expected, atol=1e-4, rtol=0)


def test_pooled_variance_has_a_floor() -> None:
    constant = torch.full((1, 2, 50), 3.0)
    torch.testing.assert_close(pooled(constant, None), torch.tensor([[3.0, 3.0, 0.1, 0.1]]))


def test_training_mode_never_reaches_its_statistics() -> None:
    encoder = SpeakerEncoder().train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    encoder.embed(torch.randn(2, 24000))
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
