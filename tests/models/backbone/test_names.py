"""Names and shapes are those of released files."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.backbone.backbone import Backbone
from models.backbone.config import ModelConfig
from training.manifest import load_model


def shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}


def full_size(**changes: object) -> Backbone:
    model = load_model("dots_tts_2b")
    with torch.device("meta"):
        return Backbone(ModelConfig.from_dicts({**model.config, **changes}, model.llm))


@pytest.mark.shared
def test_the_full_size_model_has_exactly_the_released_tensors(shared: Path) -> None:
    with (shared / "parity" / "state_dict_full.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["file"] == "model.safetensors"]
    expected = {
        row["key"]: tuple(int(size) for size in row["shape"].split("x"))
        for row in rows
        if row["note"] != "tied-not-written"
    }
    assert len(expected) == 866
    assert shapes(full_size()) == expected


def test_meanflow_adds_the_duration_embedder_and_nothing_else() -> None:
    added = set(shapes(full_size(meanflow={"enabled": True}))) - set(shapes(full_size()))
    stem = "velocity_field_predictor.duration_embedder.mlp"
    assert added == {f"{stem}.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}


def test_an_untied_output_layer_is_stored_and_a_tied_one_is_not(make: Callable[..., Backbone]) -> None:
    tied = make()
    untied = Backbone(ModelConfig.from_dicts(*with_untied(tied)))
    assert not [name for name in shapes(tied) if "lm_head" in name]
    assert shapes(untied)["llm.lm_head.weight"] == (20, 32)


def with_untied(backbone: Backbone) -> tuple[dict[str, object], dict[str, object]]:
    config, llm = backbone.config.to_dicts()
    return config, {**llm, "tie_word_embeddings": False}


def test_the_velocity_of_a_new_head_is_zero() -> None:
    backbone = Backbone(ModelConfig.from_dicts(*small_tables()))
    velocity = backbone.velocity(
        torch.randn(1, 2, 32),
        torch.randn(1, 8, 8),
        torch.randn(1, 8, 8),
        time_B=torch.tensor([0.5]),
        speaker_BH=backbone.speaker(torch.randn(1, 512)),
    )
    assert torch.equal(velocity, torch.zeros(1, 8, 8))


def small_tables() -> tuple[dict[str, object], dict[str, object]]:
    from tests.small import CONFIG, LLM

    return CONFIG, LLM
