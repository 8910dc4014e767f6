"""What a stage says of its speed: operations as they are counted by hand, and parts of a step that add up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from infra.journal import read_from
from infra.manifest import parse
from training.errand import Errand
from training.loop import Worker
from training.manifest import StageManifest
from training.objectives import StepReport
from training.speed import FLOPS, FUSED, Speed, counter, keep_flops
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
        saving = 1.0 if step == 2 else 0.0
        log.write(StepReport(step, {"a/b": 1.0}), seconds=2.0, waited=0.5, audio_seconds=16.0, saving=saving)
    log.close()
    first, second = (record["v"] for record in read_from(tmp_path / "journal" / "worker-0.jsonl", 0)[0])
    assert first["speed/audio_hours_per_hour"] == pytest.approx(32 / 5)
    assert first["speed/waited"] == pytest.approx(1 / 5)
    assert first["speed/saving"] == pytest.approx(1 / 5)
    assert second["speed/saving"] == 0
    assert second["speed/mfu"] == pytest.approx(32 / 0.16 / 2 * 100 / 4 / 1e4)
    assert [line.get("saving") for line in read_log(tmp_path / "l.jsonl")] == [None, 1.0, None, None]


@pytest.mark.usefixtures("toys")
def test_a_stage_counts_its_operations_once_and_tells_mfu(corpus: Path, tmp_path: Path) -> None:
    manifest = {
        "stage": "toy",
        "model": "tiny",
        "objective": {"name": "toy"},
        "data": {"seconds_per_step": 6, "held_out": 0},
        "optimizer": {"lr": 0.01},
        "engine": {"name": "plain"},
        "launcher": "in_process",
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
