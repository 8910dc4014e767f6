"""The semantic encoder's start: raw latents in, whatever their scale."""

import torch

from models.backbone.config import SemanticEncoderConfig
from models.backbone.semantic_encoder import SemanticEncoder


def test_untrained_encoder_hears_raw_latents_as_if_they_were_normalized() -> None:
    torch.manual_seed(0)
    config = SemanticEncoderConfig(num_layers=1, num_heads=2, hidden_size=16, ffn_hidden_size=32)
    encoder = SemanticEncoder(config, latent_dim=4, patch_size=4, hidden_size=8)
    mean_D, var_D = torch.tensor([3.0, -1.0, 0.0, 0.5]), torch.tensor([0.01, 0.04, 0.0025, 0.09])
    normal_BDF = torch.randn(2, 4, 12)
    wanted_BDF = encoder.ds_proj(normal_BDF)

    encoder.expect(mean_D, var_D)

    raw_BDF = normal_BDF * var_D.sqrt()[None, :, None] + mean_D[None, :, None]
    torch.testing.assert_close(encoder.ds_proj(raw_BDF), wanted_BDF, rtol=1e-4, atol=1e-4)


def test_small_latents_far_from_zero_do_not_all_get_one_embedding() -> None:
    torch.manual_seed(1)
    config = SemanticEncoderConfig(num_layers=1, num_heads=2, hidden_size=16, ffn_hidden_size=32)
    encoder = SemanticEncoder(config, latent_dim=4, patch_size=4, hidden_size=8)
    mean_D, var_D = torch.full((4,), 2.0), torch.full((4,), 1e-4)
    latent_BFD = mean_D + var_D.sqrt() * torch.randn(1, 64, 4)
    before = encoder(latent_BFD)[0, 1:].std(dim=0).mean()

    encoder.expect(mean_D, var_D)

    after = encoder(latent_BFD)[0, 1:].std(dim=0).mean()
    assert after > 10 * before
