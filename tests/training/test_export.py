"""Bundles come out of finished and of unfinished stages; plans count before anything is started."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from infra.cluster import ClusterManifest
from infra.manifest import ManifestError, load, parse
from infra.workflow.node import Refused
from models.runtime.bundle import load_bundle
from training import checkpoint as checkpoints
from training import export as exporting
from training import plan
from training.checkpoint import Checkpoint
from training.export import export
from training.manifest import MODELS, StageManifest

pytestmark = pytest.mark.usefixtures("toys")


def saved_in(folder: Path) -> Any:
    """Weights of a player; of ZeRO-3, as DeepSpeed's own reader joins them."""
    if (folder / "plain.pt").exists():
        return torch.load(folder / "plain.pt", weights_only=False)["player"]
    if (folder / "mp_rank_00_model_states.pt").exists():
        return torch.load(folder / "mp_rank_00_model_states.pt", weights_only=False)["module"]
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    return get_fp32_state_dict_from_zero_checkpoint(str(folder.parent), tag=folder.name)


ENGINES = [("plain", "net"), ("zero2", "net"), ("zero1", "generator"), ("zero3", "net")]


@pytest.mark.parametrize(("engine", "player"), ENGINES)
def test_a_checkpoint_of_any_engine_becomes_a_bundle(runs: Any, tmp_path: Path, engine: str, player: str) -> None:
    shutil.copytree(runs.at("cut", engine), tmp_path / "stage" / "work")
    before = os.umask(0o022)
    try:
        written = export(tmp_path / "stage", to=tmp_path / "bundle", whole=True)
    finally:
        os.umask(before)
    bundle = load_bundle(written)
    assert bundle.card["steps"] == 6
    assert bundle.card["unfinished"] is True
    assert {path.stat().st_mode & 0o777 for path in written.rglob("*") if path.is_file()} == {0o644}
    folder = tmp_path / "stage" / "work" / "checkpoints" / "step-00000006" / player
    saved = saved_in(folder)
    if player == "net":
        assert torch.equal(bundle.training["toy"]["guess.0.weight"], saved["guess.0.weight"])
    official = export(written, to=tmp_path / "official")
    assert not (official / "training").exists()
    with pytest.raises(Refused, match="is not an empty folder"):
        export(tmp_path / "stage", to=tmp_path / "bundle")
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="is not an empty folder"):
        export(tmp_path / "stage", to=tmp_path / "file")


def test_a_checkpoint_that_the_stage_removes_meanwhile_is_passed_over_for_a_newer_one(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a stage at work, when it saves and removes during an export, then that takes one that is there."""
    shutil.copytree(runs.at("cut", "plain"), tmp_path / "stage" / "work")
    folder = tmp_path / "stage" / "work" / "checkpoints"

    class Slow(exporting.Worker):
        """While it is made, the stage has gone on."""

        def __post_init__(self) -> None:
            super().__post_init__()
            shutil.copytree(folder / "step-00000006", folder / "step-00000009")
            (folder / "step-00000006").rename(tmp_path / "removed")

    usual, gone = exporting.whole_of, folder / "step-00000009"

    def whole_of(found: Checkpoint, **more: Any) -> Any:
        """And again while one is read."""
        if gone.exists():
            gone.rename(folder / "step-00000012")
        return usual(found, **more)

    monkeypatch.setattr(exporting, "Worker", Slow)
    monkeypatch.setattr(exporting, "whole_of", whole_of)
    written = export(tmp_path / "stage", to=tmp_path / "bundle", whole=True)
    saved = saved_in(folder / "step-00000012" / "net")
    assert torch.equal(load_bundle(written).training["toy"]["guess.0.weight"], saved["guess.0.weight"])


def test_the_newest_checkpoint_is_found_though_the_stage_finishes_one_and_removes_another_meanwhile(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs.at("cut", "plain"), tmp_path / "work")
    folder, usual = tmp_path / "work" / "checkpoints", checkpoints.opened
    (folder / "step-00000006" / "done-0.json").rename(tmp_path / "done")  # of the last one, it is still being written
    told: list[str] = []

    def opened(root: Path) -> Checkpoint | str:
        if root.name == "step-00000003" and (tmp_path / "done").exists():
            (tmp_path / "done").rename(folder / "step-00000006" / "done-0.json")
            shutil.rmtree(root)
        return usual(root)

    monkeypatch.setattr(checkpoints, "opened", opened)
    found = checkpoints.newest(folder, say=told.append)
    assert found is not None
    assert found.step == 6
    assert told == ["checkpoint step-00000006 is not whole (done-0.json is missing); looking at the one before it"]


def test_a_folder_without_training_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "stage").mkdir()
    with pytest.raises(Refused, match="no training was begun there"):
        export(tmp_path / "stage", to=tmp_path / "bundle")


def networks_of(manifest: StageManifest) -> dict[str, nn.Module]:
    config = plan.config_of(manifest, start_from=None)
    assert config is not None
    return plan.networks(manifest, config)


def test_a_plan_counts_steps_hours_and_memory_of_the_full_model(corpus: Path) -> None:
    manifest = parse(
        StageManifest,
        {
            "stage": "s",
            "model": "dots_tts_2b",
            "objective": {"name": "backbone"},
            "data": {"seconds_per_step": 28800},
            "optimizer": {"lr": 0.0002},
            "engine": {"name": "deepspeed", "zero_stage": 2},
            "steps": 100,
            "workers": 64,
        },
        where="test",
    )
    machines = ClusterManifest(worker_tflops=400, price_per_worker_hour=2.5)
    where: dict[str, Any] = {"start_from": None, "cluster": machines, "named": "clusters/c.yaml"}
    told = "\n".join(plan.lines(manifest, data={"data": corpus}, **where))
    assert "(180,000 patches) each: 800.0 hours of audio, 18,000,000 patches" in told
    with pytest.raises(ManifestError, match="nothing reads it: data.mixture has no part of that role"):
        list(plan.lines(manifest, data={"data": corpus, "data_more": corpus}, **where))
    assert "21 samples" in told
    assert "64 workers at 400 TFLOP/s each" in told
    counts = plan.parameters(manifest, networks_of(manifest))
    assert "teacher" not in counts
    assert sum(counts.values()) - counts["audiovae"] == pytest.approx(2.198e9, rel=0.01)
    sizes = plan.memory(1000, frozen=0, workers=8)
    assert sizes["plain"] == 16_000
    assert sizes["ZeRO-1"] == 9_000
    assert sizes["ZeRO-3"] == 2_000


@pytest.mark.parametrize(
    ("stage", "trained", "frozen"),
    [
        ("audiovae_stage1", 239e6, 0),
        ("audiovae_stage2", 1.037e9, 0),
        ("soar", 345e6, 2.034e9),
        ("meanflow", 345e6, 2.38e9),
    ],
)
def test_a_plan_knows_what_a_stage_trains_and_what_it_only_holds(stage: str, trained: float, frozen: float) -> None:
    manifest = load(StageManifest, MODELS.parent / "train" / f"{stage}.yaml", {"model": "dots_tts_2b"})
    counts = plan.parameters(manifest, networks_of(manifest))
    moved = plan.trained(manifest, counts)
    assert moved == pytest.approx(trained, rel=0.01)
    assert sum(counts.values()) - moved == pytest.approx(frozen, rel=0.01)
