"""What a stage says of its speed: operations as they are counted by hand, and parts of a step that add up."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy_stage import TOY_STAGE

from infra.journal import read_from
from infra.manifest import parse
from training import validate
from training.errand import Errand
from training.loop import Worker
from training.manifest import StageManifest
from training.objectives import StepReport
from training.report import Pace
from training.speed import BESIDE, FLOPS, FUSED, Speed, counter, keep_flops
from training.steplog import StepLog, read_log
from training.world import World


def counted(run: Callable[[], Any]) -> int:
    counting = counter()
    with counting:
        run()
    return int(counting.get_total_flops())


def test_operations_are_those_of_the_shapes() -> None:
    linear, x = nn.Linear(8, 16), torch.randn(2, 3, 8)
    assert counted(lambda: linear(x)) == 2 * 6 * 8 * 16
    assert counted(lambda: linear(x).sum().backward()) == 2 * (2 * 6 * 8 * 16)  # no gradient of x
    query, key = (torch.randn(2, 4, length, 8, requires_grad=True) for length in (5, 7))
    forward = 2 * (2 * 4 * 5 * 7 * 8) * 2
    attend = nn.functional.scaled_dot_product_attention
    assert counted(lambda: attend(query, key, key)) == forward
    assert counted(lambda: attend(query, key, key).sum().backward()) == forward * 3.5
    if torch._C._has_mkldnn:
        fused = torch.ops.mkldnn._linear_pointwise
        assert counted(lambda: fused(x, linear.weight.detach(), None, "none", [], "")) == 2 * 6 * 8 * 16


def test_attention_with_fewer_heads_of_keys_counts_those_of_the_query() -> None:
    attend = nn.functional.scaled_dot_product_attention
    query, key = torch.randn(2, 12, 5, 8, requires_grad=True), torch.randn(2, 2, 7, 8, requires_grad=True)
    forward = 2 * (2 * 12 * 5 * 7 * 8) * 2
    assert counted(lambda: attend(query, key, key, enable_gqa=True)) == forward
    assert counted(lambda: attend(query, key, key, enable_gqa=True).sum().backward()) == forward * 3.5
    counting, out = counter(), torch.empty(2, 12, 5, 8)
    for name in FUSED:  # those of a GPU too, as it calls them
        forth, back = (getattr(torch.ops.aten, f"{name}{end}") for end in ("", "_backward"))
        assert counting.flop_registry[forth](query, key, key, 0.0, False, out_val=(out,)) == forward
        found = counting.flop_registry[back](out, query, key, key, out, out, 0.0, False, out_val=(out,))
        assert found == forward * 2.5
    assert not counting.missed


def test_what_cannot_be_counted_ends_nothing_and_is_named() -> None:
    counting = counter()
    count = counting.flop_registry[torch.ops.aten.mm]
    assert count(torch.empty(2, 3), torch.empty(4, 5), out_val=torch.empty(2, 5)) == 0
    assert counting.missed == {"aten.mm"}
    assert count(torch.empty(2, 3), torch.empty(3, 5), out_val=torch.empty(2, 5)) == 2 * 2 * 3 * 5
    assert not counter().missed


def test_parts_of_a_step_are_means_since_they_were_last_told(tmp_path: Path) -> None:
    keep_flops(tmp_path, 1000, patches=10)
    speed = Speed.of(tmp_path, world=World(0, 2), dtype="float32")
    assert speed.rate > 1e8
    speed.rate = 1e4
    log = StepLog(tmp_path / "l.jsonl", journal=str(tmp_path / "journal"), first=0, every=2, speed=speed)
    for step in (1, 2, 3, 4):
        beside = {"saving": 1.0, "validating": 2.0, "sampling": 0.5} if step == 2 else {}
        log.write(StepReport(step, {"a/b": 1.0}), seconds=2.0, waited=0.5, audio_seconds=16.0, beside=beside)
    log.close()
    first, second = (record["v"] for record in read_from(tmp_path / "journal" / "worker-0.jsonl", 0)[0])
    assert first["speed/audio_hours_per_hour"] == pytest.approx(32 / 7.5)
    assert first["speed/waited"] == pytest.approx(1 / 7.5)
    assert first["speed/mfu"] == pytest.approx(32 / 0.16 / 2 * 100 / 5 / 1e4)
    assert [first[f"speed/{name}"] for name in BESIDE] == pytest.approx([2 / 7.5, 0.5 / 7.5, 1 / 7.5])
    assert second["speed/saving"] == 0
    assert second["speed/mfu"] == pytest.approx(32 / 0.16 / 2 * 100 / 4 / 1e4)
    assert [line.get("saving") for line in read_log(tmp_path / "l.jsonl")] == [None, 1.0, None, None]


@pytest.mark.usefixtures("toys")
def test_a_stage_counts_its_operations_once_and_tells_mfu(corpus: Path, tmp_path: Path) -> None:
    manifest = {
        **TOY_STAGE,
        "data": {"seconds_per_step": 6, "held_out": 0},
        "steps": 4,
        "save_every": 3,
    }
    stage = parse(StageManifest, manifest, where="test")
    (tmp_path / "attempt").write_text("a")
    words = {"work": str(tmp_path), "out": str(tmp_path / "out"), "token": "a", "journal": str(tmp_path / "journal")}
    worker = Worker(Errand(stage, {"data": str(corpus)}, None, **words), World(), print)
    kept = json.loads((tmp_path / FLOPS).read_text())
    assert kept["flops"] >= 5 * kept["patches"] * 2 * 16 * 16  # two linear layers, forward and back; none for the input
    worker.train()
    records, _ = read_from(tmp_path / "journal" / "worker-0.jsonl", 0)
    assert all(0 < record["v"]["speed/mfu"] < 1 for record in records)
    stalls = ["saving" in line for line in read_log(tmp_path / "losses.jsonl")]
    assert stalls[2]  # after the checkpoint of step 2
    assert not stalls[0]


STAGE: dict[str, Any] = {
    **TOY_STAGE,
    "data": {"seconds_per_step": 6, "held_out": 0.2},
    "try_heaviest": False,
}


@pytest.mark.usefixtures("toys")
def test_what_is_left_counts_validations_samples_and_checkpoints() -> None:
    every = {"validate_every": 10, "sample_every": 25, "save_every": 20}  # a checkpoint every 18 steps
    manifest = parse(StageManifest, {**STAGE, **every, "steps": 95}, where="test")
    pace = Pace(manifest)
    for step in range(1, 40):
        line = {"step": step, "seconds": 1.0, "audio_seconds": 6.0, "losses": {}}
        line |= {"validating": 20.0} if (step - 1) % 10 == 0 else {}
        line |= {"sampling": 7.0} if step == 26 else {}
        line |= {"saving": 2.0} if step in (19, 37) else {}
        pace.add(line)
    # after steps 40, 50 ... 90 and 95; 50, 75, 95; 54, 72, 90, 95
    assert pace.left() == pytest.approx(56 + 7 * 20 + 3 * 7 + 4 * 2)
    assert pace.told() == "step 39/95    6.0 s audio/s  3 min 45 s left"
    resumed = Pace(manifest)
    for step in (91, 92):
        resumed.add({"step": step, "seconds": 1.0, "audio_seconds": 6.0, "losses": {}})
    assert resumed.left() == pytest.approx(3)  # nothing of what comes after the last step was seen since


@pytest.mark.usefixtures("toys")
def test_the_log_has_what_came_between_two_steps(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(worker: Worker) -> None:
        time.sleep(0.2)

    monkeypatch.setattr(validate, "losses", slow)
    every = {"validate_every": 2, "sample_every": 3, "save_every": 3}
    stage = parse(StageManifest, {**STAGE, **every, "steps": 4}, where="test")
    (tmp_path / "attempt").write_text("a")
    words = {"work": str(tmp_path), "out": str(tmp_path / "out"), "token": "a"}
    Worker(Errand(stage, {"data": str(corpus)}, None, **words), World(), print).train()
    found = [line.get("validating", 0.0) for line in read_log(tmp_path / "losses.jsonl")]
    assert [spent >= 0.2 for spent in found] == [True, False, True, False]
