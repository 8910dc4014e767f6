"""How a stage begins and ends: the bundle that it may start from, and what is said of its bar."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.journal import About, JournalRun
from infra.manifest import ManifestError, load
from infra.storage import ROOT
from infra.workflow.node import Job, Made, Refused
from models.runtime.bundle import BundleError, save_bundle
from tests.small import small_bundle
from training import plan
from training.launch import run
from training.manifest import ModelManifest, StageManifest, load_model
from training.report import of_bar
from training.start import config_of_model, stop_unless_fit

ALONE = {"launcher": "in_process", "workers": "1", "engine.name": "plain"}


@pytest.mark.parametrize("stage", ["soar", "meanflow", "backbone_stage2"])
def test_a_stage_of_velocities_does_not_begin_from_a_distilled_bundle(corpus: Path, tmp_path: Path, stage: str) -> None:
    save_bundle(small_bundle(meanflow={"enabled": True}), tmp_path / "made" / "bundle", card={})
    facts = {"digest": "e" * 32, "fingerprint": "", "run": ""}
    manifest = load(StageManifest, ROOT / "manifests" / "train" / "tiny" / f"{stage}.yaml", ALONE)
    job = Job(
        name=stage,
        manifest=manifest,
        inputs={
            "data": Made(kind="corpus", name="mini", out=corpus, **facts),
            "start_from": Made(kind="train", name="meanflow", out=tmp_path / "made", **facts),
        },
        out=tmp_path / "out",
        work=tmp_path / "work",
        run=JournalRun(tmp_path / "journal", About("a" * 32, stage, "test", "train")),
        connect=lambda: pytest.fail("nothing is to start"),
        attempt=1,
        say=print,
    )
    with pytest.raises(Refused, match="MeanFlow distilled this bundle"):
        run(job)
    assert not (job.work / "errand.json").exists()
    with pytest.raises(BundleError, match="MeanFlow distilled this bundle"):
        plan.config_of(manifest, start_from=tmp_path / "made")


def test_a_model_of_another_rate_is_refused_before_it_hears_anything() -> None:
    manifest = load(StageManifest, ROOT / "manifests" / "train" / "tiny" / "audiovae_stage1.yaml", ALONE)
    config = small_bundle().config
    stop_unless_fit(manifest, config)
    other = replace(config, audiovae=replace(config.audiovae, sample_rate=24000))
    with pytest.raises(BundleError, match="this model takes 24000 Hz, .* and stages train on 48000 Hz"):
        stop_unless_fit(manifest, other)
    tiny = load_model("tiny")
    vocoder = {**tiny.config["vocoder"], "sample_rate": 24000}
    with pytest.raises(ManifestError, match=r"mine\.yaml: 1 problem\n  this model takes 24000 Hz"):
        config_of_model("mine", tiny.model_copy(update={"config": {**tiny.config, "vocoder": vocoder}}))


@pytest.mark.parametrize(
    ("table", "changed", "said"),
    [
        ("config", {"DiT": {"num_layers": "abc"}}, r"DiT\.num_layers is 'abc', which is not of its type"),
        ("config", {"DiT": {"num_heads": 5}, "patch_size": 0}, "patch_size is 0, but must be positive"),
        ("config", {"DiT": {"hidden_size": 96, "num_heads": 5}}, "hidden_size 96 is not a multiple of num_heads 5"),
        ("llm", {"hidden_size": "x"}, "no networks can be made of it: invalid literal"),
        ("llm", {"num_attention_heads": 5}, "num_attention_heads 5 is no multiple of num_key_value_heads 2"),
        ("llm", {"num_attention_heads": 32}, "32 heads of 3 cannot be rotated"),
    ],
)
def test_a_model_of_which_no_networks_can_be_made_is_a_sentence(
    tmp_path: Path, table: str, changed: dict[str, Any], said: str
) -> None:
    values = load_model("tiny").model_dump(mode="json")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**values, table: {**values[table], **changed}}))
    with pytest.raises(ManifestError, match=said):
        config_of_model("mine", load(ModelManifest, tmp_path / "mine.yaml"))


def test_the_plan_of_a_stage_reads_no_weights_of_the_bundle_that_it_starts_from(tmp_path: Path) -> None:
    bundle = small_bundle()
    save_bundle(bundle, tmp_path / "made" / "bundle", card={})
    for path in (tmp_path / "made" / "bundle").rglob("*.safetensors"):
        path.write_bytes(b"")
    manifest = load(StageManifest, ROOT / "manifests" / "train" / "tiny" / "soar.yaml", ALONE)
    found = plan.config_of(manifest, start_from=tmp_path / "made")
    assert found is not None
    assert found.llm["vocab_size"] == len(bundle.tokenizer)
    assert found.dit == bundle.config.dit


def test_a_bar_that_was_not_measured_is_not_passed() -> None:
    assert of_bar({"a": 1.0}, below={"b": 2.0}) == "its bar says nothing: not measured on so few samples: b"
    assert of_bar({"a": 1.0}, below={"a": 2.0, "b": 2.0}).startswith("its bar is passed, as far as it was measured")
    assert of_bar({"a": 1.0}, below={"a": 2.0}) == "its bar is passed"
