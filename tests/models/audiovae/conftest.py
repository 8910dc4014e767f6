"""A small AudioVAE with every part of the large one, started as training starts it."""

import pytest
import torch

from models.audiovae.config import AudioVAEConfig
from models.audiovae.initialize import initialize
from models.audiovae.vae import AudioVAE

SMALL = AudioVAEConfig(
    downsample_channels=(12, 8, 8, 12, 16, 24, 32),
    upsample_initial_channel=64,
    resblock_kernel_sizes=(3, 7),
    resblock_dilation_sizes=((1, 3), (1, 3)),
    latent_dim=8,
    mi_num_layers=2,
)


@pytest.fixture
def vae() -> AudioVAE:
    """Seeded, in evaluation mode, 48 kHz, the true strides."""
    torch.manual_seed(0)
    net = AudioVAE(SMALL)
    initialize(net, seed=0)
    return net.eval()
