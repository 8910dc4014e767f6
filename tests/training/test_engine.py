"""Engines agree with each other, with bare PyTorch, and with themselves however a step is split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.manifest import parse
from training.errand import Errand
from training.loop import Worker
from training.manifest import StageManifest
from training.update import Micro, only
from training.world import World

Ranks = Callable[..., list[Any]]

STEPS = 5


def manifest(objective: dict[str, Any], *, engine: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A stage of a toy objective."""
    return {
        "stage": "toy",
        "model": "tiny",
        "objective": objective,
        "data": {"seconds_per_step": 12, "held_out": 0},
        "optimizer": {"lr": 0.01, "clip": 0.5},
        "schedule": {"shape": "cosine", "warmup_steps": 2, "warmup_from": 0.001},
        "engine": engine,
        "steps": STEPS,
        "seed": 4,
        **changes,
    }


def close(one: Any, other: Any, *, tolerance: float = 1e-5) -> None:
    """Two results of `ranks.steps` are the same run."""
    for name in ("losses", "norms"):
        for step, (a, b) in enumerate(zip(one[name], other[name], strict=True)):
            assert a == pytest.approx(b, rel=tolerance), f"{name} of step {step}"
    assert one["weights"].keys() == other["weights"].keys()
    for key, value in one["weights"].items():
        assert torch.allclose(torch.tensor(value), torch.tensor(other["weights"][key]), atol=tolerance), key


@pytest.mark.parametrize("objective", ["toy", "toy_gan"])
def test_plain_and_zero_agree_on_any_number_of_ranks_and_micro_batches(
    corpus: Path, ranks: Ranks, tmp_path: Path, objective: str
) -> None:
    engines: dict[str, dict[str, Any]] = {
        "plain": {"name": "plain"},
        "zero0": {"name": "deepspeed", "zero_stage": 0},
        "zero1": {"name": "deepspeed", "zero_stage": 1},
        "zero2": {"name": "deepspeed", "zero_stage": 2},
    }
    if objective == "toy":
        engines["zero3"] = {"name": "deepspeed", "zero_stage": 3}
    settings = {"name": objective}
    manifests = {name: manifest(settings, engine=engine) for name, engine in engines.items()}
    for name in ("plain", "zero1", "zero2"):
        manifests[f"{name}x3"] = manifest(settings, engine={**engines[name], "accumulation": 3})
    two = ranks("steps", world=2, corpus=corpus, folder=tmp_path / "two", manifests=manifests)
    assert two[0] == two[1]
    one = ranks("steps", world=1, corpus=corpus, folder=tmp_path / "one", manifests=manifests)
    for name in manifests:
        if name != "zero3":
            close(two[0][name], two[0]["plain"])
            close(one[0][name], two[0]["plain"])
    if objective == "toy":  # weights of ZeRO-3 lie in pieces; its losses say enough
        for found in (one[0], two[0]):
            for a, b in zip(found["zero3"]["losses"], found["plain"]["losses"], strict=True):
                assert a == pytest.approx(b, rel=1e-5)
    losses = [sum(step.values()) for step in two[0]["plain"]["losses"]]
    assert losses[-1] < losses[0]


def worker_in_process(corpus: Path, folder: Path, asked: dict[str, Any]) -> Worker:
    folder.mkdir(parents=True)
    (folder / "attempt").write_text("a")
    errand = Errand(
        manifest=parse(StageManifest, asked, where="test"),
        folders={"data": str(corpus)},
        start_from=None,
        work=str(folder),
        out=str(folder),
        token="a",
    )
    return Worker(errand, World(), print)


@pytest.mark.usefixtures("toys")
def test_two_players_move_as_in_a_loop_of_bare_pytorch(corpus: Path, tmp_path: Path) -> None:
    asked = manifest({"name": "toy_gan"}, engine={"name": "plain"}, schedule={}, optimizer={"lr": 0.01, "clip": 0.5})
    ours = worker_in_process(corpus, tmp_path / "ours", asked)
    bare = worker_in_process(corpus, tmp_path / "bare", asked)
    nets = bare.objective.players
    updates = {name: torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.01) for name, net in nets.items()}
    for (step, micros, _, _), (_, same, _, _) in zip(ours.batches(0), bare.batches(0), strict=True):
        report = ours.step(step, micros)
        for name in ("discriminator", "generator"):
            for net in nets.values():
                net.zero_grad()
            terms = nets[name](same[0].prepared, same[0].draw)
            loss = sum(bare.objective.weights[name][key] * term.total / term.count for key, term in terms.items())
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(nets[name].parameters(), 0.5)
            assert report.grad_norms[name] == pytest.approx(float(norm), rel=1e-6)
            updates[name].step()
    for name, net in nets.items():
        for key, value in ours.objective.players[name].state_dict().items():
            assert torch.allclose(value, net.state_dict()[key], rtol=0, atol=1e-7), f"{name}.{key}"


@pytest.mark.usefixtures("toys")
def test_micro_batches_give_the_gradient_of_the_whole(corpus: Path, tmp_path: Path) -> None:
    found = []
    for accumulation in (1, 4):
        asked = manifest(
            {"name": "toy"}, engine={"name": "plain", "accumulation": accumulation}, optimizer={"lr": 1e-9}
        )
        worker = worker_in_process(corpus, tmp_path / str(accumulation), asked)
        net = worker.engines["net"].player.double()
        grads: dict[str, torch.Tensor] = {}  # after the last micro-batch, before the step takes them away
        for name, parameter in net.named_parameters():
            parameter.register_post_accumulate_grad_hook(
                lambda p, name=name, into=grads: into.update({name: p.grad.clone()})
            )
        _, micros, _, _ = next(worker.batches(0))
        assert len(micros) == accumulation
        doubled = [Micro(tuple(part.double() for part in m.prepared), m.draw, m.idle) for m in micros]
        report = worker.step(0, doubled)
        found.append((report, grads))
    (one, whole), (four, parts) = found
    assert one.losses == pytest.approx(four.losses, rel=1e-9)
    assert one.grad_norms == pytest.approx(four.grad_norms, rel=1e-6)
    assert whole.keys() == parts.keys()
    assert len(whole) == 6
    for name, grad in whole.items():
        assert torch.allclose(grad, parts[name], rtol=1e-6, atol=1e-9), name


@pytest.mark.usefixtures("toys")
def test_a_frozen_player_gets_no_gradient_and_thaws(corpus: Path, tmp_path: Path) -> None:
    worker = worker_in_process(corpus, tmp_path / "w", manifest({"name": "toy_gan"}, engine={"name": "plain"}))
    judge = worker.objective.players["discriminator"]
    _, (micro,), _, _ = next(worker.batches(0))
    with only("generator", worker.engines):
        assert not any(parameter.requires_grad for parameter in judge.parameters())
        terms = worker.engines["generator"](micro.prepared, micro.draw)
        torch.stack([term.total for term in terms.values()]).sum().backward()
    assert all(parameter.grad is None for parameter in judge.parameters())
    assert all(parameter.requires_grad for parameter in judge.parameters())
