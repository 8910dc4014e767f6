"""Identities of the multi-scale mel distance."""

import librosa
import numpy as np
import pytest
import torch

from training.losses.mel import SCALES, log_mel, mel_distance, mel_filters


def noise(samples: int = 24000) -> torch.Tensor:
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(0))


def test_identical_waveforms_have_no_distance() -> None:
    assert float(mel_distance(noise(), noise(), rate_hz=48000)) == 0.0


def test_a_gain_moves_every_scale_by_its_logarithm() -> None:
    loud, gain = noise(), 0.5
    scales = [
        (log_mel(gain * loud, window=w, bands=b, rate_hz=48000) - log_mel(loud, window=w, bands=b, rate_hz=48000))
        for w, b in SCALES
    ]
    heard = [scale[:, mel_filters(48000, w, b).sum(1) > 0].mean() for scale, (w, b) in zip(scales, SCALES, strict=True)]
    torch.testing.assert_close(torch.stack(heard), torch.full((7,), float(np.log10(gain))), atol=1e-3, rtol=0)
    assert float(mel_distance(gain * loud, loud, rate_hz=48000)) <= 7 * abs(np.log10(gain)) + 1e-3


def test_gradient_is_finite_on_digital_silence() -> None:
    silence = torch.zeros(1, 9600, requires_grad=True)
    mel_distance(silence, noise(9600), rate_hz=48000).backward()
    assert silence.grad is not None
    assert bool(torch.isfinite(silence.grad).all())


@pytest.mark.parametrize(("window", "bands"), [(512, 40), (2048, 80)])
def test_filters_are_librosas(window: int, bands: int) -> None:
    wanted = librosa.filters.mel(sr=48000, n_fft=window, n_mels=bands)
    np.testing.assert_allclose(mel_filters(48000, window, bands).numpy(), wanted, atol=1e-6)
