"""No stage trains with dropout: its masks would depend on how a step is split over workers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.manifest import ManifestError, parse
from models.backbone.backbone import Backbone
from models.backbone.config import ModelConfig
from tests.small import CONFIG, LLM
from training.dropout import dropping, refuse_dropout
from training.errand import Errand
from training.loop import Worker
from training.manifest import StageManifest, load_model, model_names
from training.world import World


@pytest.mark.usefixtures("toys")
def test_a_player_that_drops_activations_is_refused_by_name(corpus: Path, tmp_path: Path) -> None:
    asked = {
        "stage": "toy",
        "model": "tiny",
        "objective": {"name": "toy", "dropout": 0.2},
        "data": {"seconds_per_step": 12},
        "optimizer": {"lr": 0.01},
        "engine": {"name": "plain"},
        "steps": 2,
    }
    manifest = parse(StageManifest, asked, where="test")
    errand = Errand(manifest, {"data": str(corpus)}, None, str(tmp_path), str(tmp_path), token="a")
    with pytest.raises(ManifestError, match=r"net\.guess\.2 drops 0\.2 of what it computes"):
        Worker(errand, World(), print)


def test_dropout_of_the_head_and_of_the_language_model_is_seen() -> None:
    tables: dict[str, Any] = {**CONFIG, "DiT": {**CONFIG["DiT"], "dropout": 0.1}}
    config = ModelConfig.from_dicts(tables, {**LLM, "attention_dropout": 0.25})
    with torch.device("meta"):
        network = Backbone(config)
    found = dict(dropping(network))
    assert found["velocity_field_predictor.blocks.0.attn.dropout"] == 0.1
    assert found["velocity_field_predictor.blocks.0.ffn.dropout"] == 0.1
    assert found["llm.model.layers.0.self_attn"] == 0.25
    with torch.device("meta"):
        still = Backbone(replace(config, dit=replace(config.dit, dropout=0.0), llm=LLM))
    refuse_dropout({"backbone": still}, stage="test")


@pytest.mark.parametrize("name", model_names())
def test_no_model_of_ours_drops(name: str) -> None:
    model = load_model(name)
    with torch.device("meta"):
        refuse_dropout({"backbone": Backbone(ModelConfig.from_dicts(model.config, model.llm))}, stage=name)
