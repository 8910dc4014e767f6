"""A plan counts the operations of a stage right, and says what they cost on a cluster that tells speed and price."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.cli import main
from infra.cluster import ClusterManifest
from infra.manifest import load
from models.backbone.backbone import Backbone
from models.text.tokens import byte_tokenizer, training_example
from training import plan
from training.compute import compute, lines, of_audiovae, of_backbone
from training.data.draw import Draw
from training.data.prepared import Prepared, stacked
from training.manifest import MODELS, StageManifest
from training.objectives import audiovae
from training.objectives.backbone import BackbonePlayer
from training.speed import counter

TINY = MODELS.parent / "train" / "tiny"


def stage(name: str, *, model: str = "tiny", folder: Path = TINY, **changed: str) -> StageManifest:
    return load(StageManifest, folder / f"{name}.yaml", {"model": model, **changed})


def networks(manifest: StageManifest) -> dict[str, Any]:
    config = plan.config_of(manifest, start_from=None)
    assert config is not None
    return dict(plan.networks(manifest, config))


def test_what_is_counted_of_the_backbone_is_what_its_player_does() -> None:
    manifest, patches = stage("backbone_stage2"), 12
    empty = networks(manifest)["backbone"]
    config, example = empty.config, training_example(byte_tokenizer(), "word", patches=patches, layout="plain")
    ids_BL, audio_BL, speaks_BL = stacked([example])
    latent_BFD = torch.randn(1, patches * config.patch_size, config.latent_dim)
    prepared = Prepared(
        ids_BL=ids_BL,
        audio_BL=audio_BL,
        speaks_BL=speaks_BL,
        latent_BFD=latent_BFD,
        clean_BFD=latent_BFD,
        patches_B=torch.tensor([patches]),
        xvector_BE=torch.randn(1, config.campplus_embedding_size),
    )
    player = BackbonePlayer(Backbone(config), hidden_drop=0.0, speaker_drop=0.0)
    with counter() as counting:
        terms = player(prepared, Draw(0, 0, ["a"]))
        torch.autograd.backward(torch.stack([term.total for term in terms.values()]).sum())
    counted = of_backbone(manifest, empty, patches=patches, text=ids_BL.shape[1] - patches)
    assert counting.get_total_flops() == pytest.approx(counted, rel=0.15)  # a CPU leaves pairs out that the mask hides


def test_what_is_counted_of_the_audiovae_is_what_its_players_do() -> None:
    manifest = stage("audiovae_stage1")
    cfg, config = manifest.objective.settings, plan.config_of(manifest, start_from=None)
    assert isinstance(cfg, audiovae.Config)
    assert config is not None
    frames = cfg.crop_frames
    real = {name: network.to_empty(device="cpu") for name, network in networks(manifest).items()}
    for network in real.values():
        for tensor in [*network.parameters(), *network.buffers()]:
            torch.nn.init.constant_(tensor, 0.01)
    vae, flow, discriminator = real["audiovae"], real["flow"], real["discriminator"]
    crops = audiovae.Crops(torch.randn(1, frames * config.audiovae.hop), torch.randn(1, frames, config.latent_dim))
    first = audiovae.DiscriminatorPlayer(discriminator, vae=vae, cfg=cfg)
    second = audiovae.GeneratorPlayer(vae, flow, discriminator=discriminator, cfg=cfg)
    done = 0
    for player, trained in ((first, True), (second, False)):
        discriminator.requires_grad_(trained)
        # autocast, since convolutions of packed weights, which it does without, are not counted
        with torch.autocast("cpu", torch.bfloat16), counter() as counting:
            terms = player(crops, Draw(0, 10**9, ["a"]))
            torch.autograd.backward(torch.stack([t.total for t in terms.values() if t.total.requires_grad]).sum())
        done += counting.get_total_flops()
    empty = networks(manifest)
    counted = of_audiovae(empty["audiovae"], empty["flow"], empty["discriminator"], frames=frames)
    assert counted < done
    assert counted == pytest.approx(done, rel=0.1)  # the transforms are left out


def test_the_full_backbone_takes_the_operations_that_were_counted_on_a_gpu() -> None:
    """README.md, `On a GPU`: 720 s of audio in 426 ms, at 0.49 of what large products reach there, 770 TFLOP/s."""
    manifest = stage("backbone_stage2", model="dots_tts_2b", folder=MODELS.parent / "train")
    per_second = compute(manifest, networks(manifest)).per_second
    assert 720 * per_second / (0.49 * 770e12) == pytest.approx(0.426, rel=0.3)


def test_frozen_and_guided_parts_are_counted_as_often_as_they_run() -> None:
    def per_second(name: str, **changed: str) -> float:
        manifest = stage(name, **changed)
        return compute(manifest, networks(manifest)).per_second

    whole = per_second("backbone_stage2")
    assert per_second("backbone_stage2", **{"objective.freeze": "[llm]"}) < whole
    more, fewer = (per_second("soar", **{"objective.states": count}) for count in ("6", "3"))
    fewest = per_second("soar", **{"objective.states": "1"})
    assert more - fewer == pytest.approx(1.5 * (fewer - fewest))
    twice, once = (per_second("meanflow", **{"objective.teacher_steps": count}) for count in ("16", "8"))
    assert once < twice < 2 * once


def test_time_and_cost_are_told_as_far_as_the_cluster_says_how_fast_and_dear_it_is() -> None:
    manifest = stage("backbone_stage2", workers="2", steps="1000", **{"data.seconds_per_step": "3600"})
    found = replace(compute(manifest, networks(manifest)), per_second=1e12)

    def told(**facts: float) -> list[str]:
        return list(lines(manifest, found, cluster=ClusterManifest.model_validate(facts), named="clusters/c.yaml"))

    assert told()[1] == (
        "time        not known: set worker_tflops in clusters/c.yaml, and price_per_worker_hour for the cost"
    )
    assert told(worker_tflops=100)[2] == "cost        not known: set price_per_worker_hour in clusters/c.yaml"
    first, second, third = told(worker_tflops=100, price_per_worker_hour=2.5)
    assert first.startswith("compute     3.60e+18 operations (counted of clips of")
    assert second == "time        5.0 hours on 2 workers at 100 TFLOP/s each, 10.00 worker-hours"
    assert third == "cost        25.00 at 2.5 a worker-hour"


def test_a_plan_names_the_cluster_that_it_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = tmp_path / "fast.yaml"
    cluster.write_text("address: auto\nworker_tflops: 1.0e-2\n")
    words = ["train", "plan", str(TINY / "backbone_stage2.yaml"), "--set", "model=tiny"]
    assert main(words) == 0
    assert "set worker_tflops in" in capsys.readouterr().out
    assert main([*words, "--cluster", str(cluster)]) == 0
    said = capsys.readouterr().out
    assert "at 0.01 TFLOP/s each" in said
    assert f"set price_per_worker_hour in {cluster}" in said


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_a_cluster_that_cannot_be_used_is_refused_before_anything_starts(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    cluster = tmp_path / "slow.yaml"
    cluster.write_text("worker_tflop: 400\n")
    words = [str(TINY / "audiovae_stage1.yaml"), "--data", str(corpus), "--cluster", str(cluster)]
    assert main(["train", verb, *words]) == 2
    assert "did you mean 'worker_tflops'" in capsys.readouterr().err
