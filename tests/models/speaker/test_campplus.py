"""CAM++ against the official recordings, and its promise that padding changes nothing."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.speaker.campplus import SpeakerEncoder, pooled
from models.speaker.fbank import (
    BANDS,
    FFT,
    FRAME,
    RATE_HZ,
    SHIFT,
    fbank,
    hann_kernel,
    mel_bands,
    povey_window,
    without_mean,
)

TOLERANCE = 1e-5
"""Of the maximum. 3e-6 was measured; the rest is for other machines."""


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
    assert error(official.resample(signals["a48k"]), signals["a16k_default"]) < TOLERANCE
    assert error(fbank(signals["a16k_default"])[0], signals["fbank16k_raw"]) < TOLERANCE
    assert error(without_mean(fbank(signals["a16k_default"]))[0], signals["fbank16k_meannorm"]) < TOLERANCE
    assert error(without_mean(fbank(signals["a16k_hq"]))[0], signals["fbank_training_path"]) < TOLERANCE
    assert error(official.features(recorded["wav"][0]), recorded["fbank"][0]) < TOLERANCE


@pytest.mark.shared
@torch.no_grad()
def test_embedding_matches(official: SpeakerEncoder, recorded: dict[str, Tensor]) -> None:
    assert error(official.model.head(recorded["fbank"].transpose(1, 2)), recorded["head_out"]) < TOLERANCE
    assert error(official.model(recorded["fbank"], recorded["fbank_len"]), recorded["embedding"]) < TOLERANCE
    assert error(official.embed(recorded["wav"]), recorded["embedding"]) < TOLERANCE


@pytest.mark.shared
@torch.no_grad()
def test_a_padded_batch_matches_with_masked_pooling(official: SpeakerEncoder, recorded: dict[str, Tensor]) -> None:
    length_B = -(-recorded["batch_lengths"] // 3)
    energies = fbank(official.resample(recorded["batch_wav"][:, 0]))
    frames_B = 1 + (length_B - FRAME) // SHIFT
    assert error(official.model(without_mean(energies, frames_B), frames_B), recorded["batch_embedding"]) < TOLERANCE


@pytest.mark.shared
def test_padding_changes_nothing_in_embed(official: SpeakerEncoder, recorded: dict[str, Tensor]) -> None:
    found = official.embed(recorded["batch_wav"][:, 0], recorded["batch_lengths"])
    assert error(found[1:], recorded["batch_single_b"]) < TOLERANCE


def test_filter_bank_equals_that_of_torchaudio() -> None:
    from torchaudio.compliance import kaldi

    bands, _ = kaldi.get_mel_banks(BANDS, FFT, float(RATE_HZ), 20.0, 0.0, 100.0, -500.0, 1.0)
    torch.testing.assert_close(mel_bands()[:-1], bands.T, atol=1e-7, rtol=0)
    torch.testing.assert_close(povey_window(), torch.hann_window(400, periodic=False).pow(0.85), atol=0, rtol=0)
    wave_1S = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    expected = kaldi.fbank(wave_1S, num_mel_bins=BANDS, sample_frequency=RATE_HZ, dither=0.0)
    torch.testing.assert_close(fbank(wave_1S)[0], expected, atol=1e-5, rtol=0)


def test_filter_bank_is_made_whole_under_a_meta_device() -> None:
    mel_bands.cache_clear()
    povey_window.cache_clear()
    with torch.device("meta"):
        assert not mel_bands().is_meta
        assert not povey_window().is_meta


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
