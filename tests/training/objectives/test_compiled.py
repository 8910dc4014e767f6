"""Compiled blocks compute what they do as written; what cannot be compiled is refused."""

from typing import Any

import pytest
import torch
from torch import nn

from infra.manifest import ManifestError, parse
from models.backbone.config import SemanticEncoderConfig
from models.backbone.semantic_encoder import SemanticEncoder
from models.runtime.bundle import Bundle
from training.compiled import compile_blocks
from training.manifest import StageManifest
from training.objectives.backbone import BackbonePlayer, copy_on_cpu
from training.recompute import recompute_blocks


def gradients(player: BackbonePlayer, prepared: Any, noise: Any) -> list[torch.Tensor]:
    terms = player.terms(prepared, noise)
    torch.autograd.backward(terms["flow/velocity"].total)
    found = [parameter.grad for parameter in player.parameters() if parameter.grad is not None]
    player.zero_grad()
    return found


@pytest.mark.system
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("again", [False, True])
def test_compiled_blocks_have_the_gradients_of_those_as_written(
    bundle: Bundle, prepared: Any, noise: Any, again: bool
) -> None:
    assert bundle.backbone is not None
    player = BackbonePlayer(bundle.backbone, hidden_drop=0.0, speaker_drop=0.0)
    batch = prepared(bundle, patches=(3, 2))
    wanted = gradients(player, batch, noise(batch))
    assert compile_blocks([player, bundle.backbone], stage="s", backend="aot_eager") > 2
    if again:
        recompute_blocks({"backbone": player}, stage="s")
    found = gradients(player, batch, noise(batch))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_a_copy_to_speak_from_has_its_own_weights_where_blocks_are_compiled() -> None:
    config = SemanticEncoderConfig(num_layers=1, num_heads=2, hidden_size=8, ffn_hidden_size=16)
    encoder = SemanticEncoder(config, latent_dim=4, patch_size=2, hidden_size=8)
    compile_blocks([encoder], stage="s", backend="eager")
    recompute_blocks({"encoder": encoder}, stage="s")
    copied = copy_on_cpu(encoder)
    latent_1FD = torch.randn(1, 8, 4)
    with torch.no_grad():
        before = copied(latent_1FD)
        for parameter in encoder.parameters():
            parameter.zero_()
        assert torch.equal(copied(latent_1FD), before)
    assert before.abs().max() > 0


def test_networks_without_blocks_are_refused() -> None:
    with pytest.raises(ManifestError, match=r"engine\.compile: there is no Transformer block"):
        compile_blocks([nn.Linear(2, 2)], stage="s")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"device": "cpu"}, "engine.compile needs device: cuda"),
        ({"device": "cuda", "engine": {"compile": True, "zero_stage": 3}}, "does not work with engine.zero_stage 3"),
    ],
)
def test_a_manifest_that_cannot_be_compiled_is_refused(asked: dict[str, Any], said: str) -> None:
    manifest = {
        "stage": "s",
        "objective": {"name": "backbone"},
        "data": {"seconds_per_step": 1},
        "optimizer": {"lr": 0.1},
        "engine": {"compile": True},
        "steps": 1,
    }
    with pytest.raises(ManifestError, match=said):
        parse(StageManifest, manifest | asked, where="test")
