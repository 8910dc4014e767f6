"""The heaviest micro-batch of the plan is found, tried first, and leaves no trace."""

from pathlib import Path
from typing import Any

import pytest
import torch

from infra.manifest import parse
from training import heaviest as trying
from training.errand import Errand
from training.heaviest import DoesNotFit, heaviest, weight
from training.loop import Worker
from training.manifest import StageManifest
from training.world import World

pytestmark = pytest.mark.usefixtures("toys")


def worker(corpus: Path, folder: Path, **changes: Any) -> Worker:
    """A stage of two players, at its start."""
    folder.mkdir()
    asked = {
        "stage": "toy",
        "model": "tiny",
        "objective": {"name": "toy_gan"},
        "data": {"seconds_per_step": 8, "held_out": 0},
        "optimizer": {"lr": 0.01},
        "engine": {"name": "plain", "accumulation": 2},
        "steps": 9,
        **changes,
    }
    manifest = parse(StageManifest, asked, where="test")
    return Worker(Errand(manifest, {"data": str(corpus)}, None, str(folder), str(folder), token="a"), World(), print)


def test_no_micro_batch_of_the_stage_is_heavier(corpus: Path, tmp_path: Path) -> None:
    plan = worker(corpus, tmp_path / "a").plan
    all_of_them = [share for step in range(9) for share in plan.share(step, rank=0, world=1, accumulation=2)]
    lengths = [[plan.lengths(pick) for pick in share.picks] for share in all_of_them]
    padded = [max(patches) * len(patches) for patches in lengths]
    found = heaviest(plan, steps=9, groups=2)
    assert found == all_of_them[padded.index(max(padded))]
    assert weight(plan, found) == (max(padded), max(map(plan.lengths, found.picks)))
    assert len({max(patches) for patches in lengths}) > 1
    assert max(padded) > max(map(max, lengths)), "several samples are heavier than the longest one"


def test_trying_it_changes_nothing(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    inner = trying.heaviest
    monkeypatch.setattr(trying, "heaviest", lambda *a, **b: tried.append(1) or inner(*a, **b))
    one, other = worker(corpus, tmp_path / "a"), worker(corpus, tmp_path / "b", try_heaviest=False)
    assert len(tried) == 1
    for name, player in one.objective.players.items():
        for key, value in player.state_dict().items():
            assert torch.equal(value, other.objective.players[name].state_dict()[key])
        assert all(p.grad is None and p.requires_grad for p in player.parameters())
    reports = [[w.step(step, micros) for step, micros, _, _ in w.batches(0)] for w in (one, other)]
    assert reports[0] == reports[1]


def test_buffers_and_gradients_are_as_before_once_it_was_tried() -> None:
    own, other = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    with trying.untouched(own, [other]):
        other(own(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))).square().sum().backward()
        assert not torch.equal(own.running_mean, before["running_mean"])
        assert not any(p.requires_grad for p in other.parameters())
    for module in (own, other):
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in module.parameters())


def test_what_does_not_fit_is_a_sentence_before_the_first_step(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_words: Any, **_named: Any) -> Any:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(trying, "untouched", full)
    with pytest.raises(DoesNotFit, match=r"heaviest micro-batch of the plan, \d+ samples of up to [\d.]+ s, padded to"):
        worker(corpus, tmp_path / "a")
