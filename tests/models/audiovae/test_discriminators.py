"""Discriminators: what they see, and that a gradient comes back from silence."""

import math

import pytest
import torch

from models.audiovae.discriminators import LOWEST_HZ, BandDiscriminator, Discriminator, DiscriminatorConfig

SMALL = DiscriminatorConfig(period_channels=(4, 8, 8), cqt_hops=(1024,), cqt_bins=(12,), cqt_octaves=8, cqt_channels=4)


def test_there_is_one_score_for_each_period_and_each_transform() -> None:
    found = Discriminator(SMALL)(torch.randn(2, 9600))
    assert len(found) == 6
    for maps in found[:5]:
        assert len(maps.features) == 4
        assert maps.features[-1] is maps.score
    assert len(found[5].features) == 5
    assert all(maps.score.shape[0] == 2 for maps in found)


@pytest.mark.parametrize("hertz", [110.0, 1000.0, 6000.0])
@torch.no_grad()
def test_a_tone_lights_up_its_bin_of_the_constant_q_transform(hertz: float) -> None:
    discriminator = BandDiscriminator(rate_hz=48000, hop=1024, bins=12, octaves=8, channels=2)
    tone_BS = torch.sin(2 * math.pi * hertz * torch.arange(24000) / 48000).unsqueeze(0)
    magnitude = discriminator.spectrum(tone_BS).square().sum(dim=1).mean(dim=1)
    assert magnitude.shape == (1, 96)
    assert int(magnitude.argmax()) == round(12 * math.log2(hertz / LOWEST_HZ))


def test_a_hop_counts_samples_of_the_doubled_rate_as_in_bigvgan() -> None:
    discriminator = BandDiscriminator(rate_hz=48000, hop=512, bins=12, octaves=8, channels=2)
    assert discriminator.spectrum(torch.randn(1, 9600)).shape == (1, 2, 1 + 2 * 9600 // 512, 96)


def test_the_convolution_of_an_octave_and_the_first_of_all_bands_have_no_weight_norm() -> None:
    discriminator = BandDiscriminator(rate_hz=48000, hop=1024, bins=12, octaves=2, channels=2)
    plain = {name for name, _ in discriminator.named_parameters() if name.endswith(".weight")}
    assert plain == {"octave_convs.0.weight", "octave_convs.1.weight", "convs.0.weight"}


def test_gradients_are_finite_near_silence() -> None:
    wave_BS = (1e-8 * torch.randn(1, 9600)).requires_grad_()
    torch.stack([maps.score.square().mean() for maps in Discriminator(SMALL)(wave_BS)]).sum().backward()
    assert wave_BS.grad is not None
    assert bool(torch.isfinite(wave_BS.grad).all())


def test_transform_kernels_are_no_part_of_a_checkpoint() -> None:
    discriminator = BandDiscriminator(rate_hz=48000, hop=1024, bins=12, octaves=8, channels=2)
    before = set(discriminator.state_dict())
    discriminator(torch.randn(1, 9600))
    assert set(discriminator.state_dict()) == before
    assert not [name for name in before if "kernel" in name]
