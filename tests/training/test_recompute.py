"""Transformer blocks that are computed again give the same gradients, bit for bit, and keep less."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from infra.manifest import ManifestError, parse
from models.runtime.bundle import load_bundle
from tests.small import small_bundle
from training.data.draw import Draw
from training.data.prepared import Prepared, stacked
from training.manifest import StageManifest
from training.objectives import Player, backbone, meanflow, soar
from training.recompute import recompute_blocks

DRAW = Draw(0, 3, ["a", "b"])


def prepared(bundle: Any) -> Prepared:
    """Two utterances of 5 and 3 patches."""
    from models.text.tokens import training_example

    generator = torch.Generator().manual_seed(1)
    rows = [training_example(bundle.tokenizer, "abc", patches=patches) for patches in (5, 3)]
    latent = torch.randn(2, 20, bundle.config.latent_dim, generator=generator)
    latent[1, 12:] = 0
    xvector = torch.randn(2, 512, generator=generator)
    return Prepared(*stacked(rows), latent, latent.clone(), torch.tensor([5, 3]), xvector)


def gradients(player: Player, batch: Any, *, half: bool = False) -> tuple[dict[str, Tensor], int]:
    """Gradient of every parameter, and the bytes that were kept for it; `half`: in bfloat16, by autocast."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    cast = torch.autocast("cpu", torch.bfloat16, enabled=half)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), cast:
        terms = player(batch, DRAW)
        loss = torch.stack([term.total / term.count for term in terms.values()]).sum()
    loss.backward()
    found = {name: p.grad.clone() for name, p in player.named_parameters() if p.grad is not None}
    player.zero_grad()
    return found, sum(kept.values())


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # torch says that it is not fused
@pytest.mark.parametrize(
    ("objective", "half"), [("backbone", False), ("backbone", True), ("soar", False), ("meanflow", False)]
)
def test_blocks_computed_again_give_the_same_gradients_and_keep_less(objective: str, half: bool) -> None:
    bundle = small_bundle()
    generator = torch.Generator().manual_seed(0)
    assert bundle.backbone is not None
    with torch.no_grad():
        for parameter in bundle.backbone.parameters():
            if parameter.dim() > 1:
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
    made: Any = {"backbone": backbone, "soar": soar, "meanflow": meanflow}[objective]
    one = made.Objective(made.Config(), bundle, seed=0)
    batch: Any = prepared(bundle)
    if objective != "backbone":
        batch = soar.heard_by(one.backbone, batch)
    if objective == "meanflow":
        batch = one.lesson(batch, DRAW)
    player = one.players["backbone"].train()
    expected, all_of_it = gradients(player, batch, half=half)
    assert recompute_blocks(one.players, stage="test") >= 1
    found, less = gradients(player, batch, half=half)
    assert found.keys() == expected.keys()
    assert len(found) > 20
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name
    assert less < 0.8 * all_of_it


def test_a_copy_of_a_network_computes_its_own_blocks_again(untrained: Path) -> None:
    bundle = load_bundle(untrained)
    one = backbone.Objective(backbone.Config(), bundle, seed=0)
    recompute_blocks(one.players, stage="test")
    other = copy.deepcopy(one.players["backbone"])
    batch = prepared(bundle)
    before, _ = gradients(one.players["backbone"], batch)
    with torch.no_grad():
        for parameter in one.players["backbone"].parameters():
            parameter.zero_()
    after, _ = gradients(other, batch)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_player_without_blocks_is_refused() -> None:
    with pytest.raises(ManifestError, match="net has no Transformer block to compute again"):
        recompute_blocks({"net": torch.nn.Linear(2, 2)}, stage="test")


@pytest.mark.parametrize("engine", [{"name": "plain"}, {"name": "deepspeed", "zero_stage": 0}])
def test_offloading_without_zero_is_refused(engine: dict[str, Any]) -> None:
    asked = {
        "stage": "s",
        "model": "tiny",
        "objective": {"name": "backbone"},
        "data": {"seconds_per_step": 12},
        "optimizer": {"lr": 0.01},
        "engine": {**engine, "offload": True},
        "steps": 2,
    }
    with pytest.raises(ManifestError, match="engine.offload needs engine.name: deepspeed"):
        parse(StageManifest, asked, where="test")
