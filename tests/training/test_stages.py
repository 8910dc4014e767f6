"""Each of the seven tiny stages, interrupted and resumed, is the stage that was not: losses, weights, optimizer."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from infra.journal import read_from
from infra.lineage import MAX_KEYS
from infra.manifest import parse
from training import checkpoint as checkpoints
from training.errand import Errand
from training.loop import Worker
from training.manifest import StageManifest
from training.steplog import GROUPS, LOSSES, read_log
from training.world import World

TINY = Path(__file__).parents[2] / "manifests" / "train" / "tiny"
STAGES = sorted(path.stem for path in TINY.glob("*.yaml"))
STEPS, SAVED = 3, 1
FEWER: dict[str, Any] = {
    "audiovae": {"adversarial_from_step": 1, "kl_ramp_steps": 3, "crop_frames": 4},
    "audiovae_semantic": {"adversarial_from_step": 1, "kl_ramp_steps": 3, "crop_frames": 4},
}
"""What lets every term of a stage take part within three short steps."""


def few_steps(stage: str) -> StageManifest:
    """The tiny manifest of a stage, on one plain worker, with little audio a step."""
    asked = yaml.safe_load((TINY / f"{stage}.yaml").read_text())
    asked["objective"] |= FEWER.get(asked["objective"]["name"], {})
    asked["data"] |= {"seconds_per_step": 3, "held_out": 0}
    asked["data"]["max_clip_seconds"] = min(3.0, asked["data"]["max_clip_seconds"])
    asked |= {"engine": {"name": "plain"}, "workers": 1, "launcher": "in_process", "try_heaviest": False}
    asked |= {"check_gradients_every": 1, "steps": STEPS, "save_every": SAVED + 1, "sample_every": 1000}
    if "schedule" in asked:
        asked["schedule"]["warmup_steps"] = min(1, asked["schedule"].get("warmup_steps", 0))
    return parse(StageManifest, asked, where=stage)


def go(folder: Path, stage: str, corpus: Path, untrained: Path, *, killed: Path | None = None) -> None:
    """Train a stage in `folder` from where it was left; `killed`: a copy of the folder as it was before the last update
    and its checkpoint, which is what a kill would leave there."""
    folder.mkdir(exist_ok=True)
    (folder / "attempt").write_text("a")
    start = None if stage == "audiovae_stage1" else str(untrained)
    words = {"start_from": start, "work": str(folder), "out": str(folder / "out"), "token": "a"}
    words["journal"] = str(folder / "journal")
    worker = Worker(Errand(few_steps(stage), {"data": str(corpus)}, **words), World(), print)
    worker.write_bundle = lambda: None  # type: ignore[method-assign]  # statistics of latents cost more than the steps
    worker.objective.samples = None  # type: ignore[attr-defined]  # nor is a voice part of the state
    inner = worker.step

    def step(number: int, micros: Any) -> Any:
        if number == STEPS - 1 and killed is not None:
            worker.background.finish()
            shutil.copytree(folder, killed)
            shutil.rmtree(killed / "checkpoints" / f"step-{STEPS - 1:08d}")
        return inner(number, micros)

    worker.step = step  # type: ignore[method-assign]
    worker.train()


def lines(folder: Path) -> list[Any]:
    kept = ("step", "losses", "grad_norms", "lr", "audio_seconds")
    return [{key: line[key] for key in kept} for line in read_log(folder / LOSSES)]


def metric_keys(folder: Path) -> set[str]:
    """Of the journal, as MLflow would get them; and those of the most that a validation can add."""
    records, _ = read_from(folder / "journal" / "worker-0.jsonl", 0)
    keys = {key for record in records for key in record["v"]}
    terms = {f"validation/{term}" for line in read_log(folder / LOSSES) for term in line["losses"]}
    groups = {f"validation_{kind}/{n}" for kind in ("corpus", "language") for n in range(GROUPS)}
    return keys | terms | groups | {"speed/mfu", "speed/gpu_gib"}


def state(folder: Path) -> dict[str, Any]:
    """The last checkpoint, file by file."""
    found = checkpoints.newest(folder / "checkpoints")
    assert found is not None
    assert found.step == STEPS
    return {name: found.load(name) for name in sorted(found.names)}


def count_equal(one: Any, other: Any, where: str) -> int:
    """Tensors in two nested states that are the same, bit for bit; fails at the first that is not."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
        return 1
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        return sum(count_equal(one[key], other[key], f"{where}.{key}") for key in one)
    if isinstance(one, list | tuple):
        assert len(one) == len(other), where
        return sum(count_equal(a, b, f"{where}.{n}") for n, (a, b) in enumerate(zip(one, other, strict=True)))
    assert one == other, where
    return 0


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupted_stage_ends_as_one_that_was_not(
    stage: str, corpus: Path, untrained: Path, tmp_path: Path
) -> None:
    go(tmp_path / "whole", stage, corpus, untrained, killed=tmp_path / "cut")
    found = checkpoints.newest(tmp_path / "cut" / "checkpoints")
    assert found is not None
    assert found.step == SAVED
    torch.manual_seed(77)  # nothing may be drawn from the global generator
    go(tmp_path / "cut", stage, corpus, untrained)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert [line["step"] for line in lines(tmp_path / "cut")] == list(range(1, STEPS + 1))
    keys = metric_keys(tmp_path / "whole")
    assert len(keys) <= MAX_KEYS, sorted(keys)
    whole, cut = state(tmp_path / "whole"), state(tmp_path / "cut")
    assert set(whole) == {f"{player}/plain.pt" for player in lines(tmp_path / "cut")[0]["grad_norms"]}
    assert count_equal(whole, cut, stage) > 30
    moments = [entry for file in whole.values() for entry in file["optimizer"]["state"].values()]
    assert any(float(entry["exp_avg_sq"].abs().max()) > 0 for entry in moments)
    fails_its_bar(lines(tmp_path / "whole"), few_steps(stage))


def fails_its_bar(found: list[Any], manifest: StageManifest) -> None:
    """The losses of the first update, taken before it, are those of an untrained network: too high in every term."""
    assert manifest.bar is not None
    for term, bar in manifest.bar.below.items():
        first = next(line["losses"][term] for line in found if term in line["losses"])
        assert first > 1.05 * bar, term
