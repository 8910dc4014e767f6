"""Engines agree with each other, with bare PyTorch, and with themselves however a step is split."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.manifest import parse
from models.runtime.bundle import load_bundle
from training.checkpoint import Checkpoint, opened
from training.errand import Errand
from training.loop import Worker
from training.manifest import StageManifest
from training.transfer import whole_of
from training.update import Micro, only
from training.world import World
from training.zero import launchers_words

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


ENGINES: dict[str, dict[str, Any]] = {
    "plain": {"name": "plain"},
    "zero0": {"name": "deepspeed", "zero_stage": 0},
    "zero1": {"name": "deepspeed", "zero_stage": 1},
    "zero2": {"name": "deepspeed", "zero_stage": 2},
    "zero3": {"name": "deepspeed", "zero_stage": 3},
}
OFFLOADED = {f"{name} offloaded": {**ENGINES[name], "offload": True} for name in ("zero1", "zero2", "zero3")}
OFFLOADED["zero2 offloaded in 3"] = {**OFFLOADED["zero2 offloaded"], "accumulation": 3}
SPLIT = {f"{name} in 3": {**ENGINES[name], "accumulation": 3} for name in ("plain", "zero1", "zero2", "zero3")}
REAL = {name: ENGINES[name] for name in ("plain", "zero2", "zero3")} | {
    "plain in 4": {"name": "plain", "accumulation": 4}
}


def kinds(objective: str) -> dict[str, dict[str, Any]]:
    """Manifests of one objective, by the name of the engine."""
    if objective == "backbone":
        data, start = {"seconds_per_step": 40, "max_clip_seconds": 4, "held_out": 0}, {"steps": 2, "schedule": {}}
        settings = {"name": "backbone", "layouts": {"plain": 0.5, "interleaved": 0.5}}
        made = {name: manifest(settings, engine=engine, data=data, **start) for name, engine in REAL.items()}
        return {name: {key: value for key, value in one.items() if key != "model"} for name, one in made.items()}
    found = {**ENGINES, **SPLIT, **OFFLOADED}
    if objective == "toy_gan":
        found = {name: engine for name, engine in found.items() if engine.get("zero_stage") != 3}
    return {name: manifest({"name": objective}, engine=engine) for name, engine in found.items()}


@dataclass(frozen=True)
class Ran:
    """One manifest on one or two ranks."""

    losses: list[dict[str, float]]
    norms: list[dict[str, float]]
    samples: int
    shapes: dict[str, dict[str, list[int]]]
    folder: Path

    def state(self, step: int) -> dict[str, torch.Tensor]:
        """Weights, and the moments of AdamW, after an update. The mean of gradients after the first is the gradient,
        times a number."""
        (root,) = (self.folder / "checkpoints").glob(f"step-{step:08d}")
        checkpoint = opened(root)
        assert isinstance(checkpoint, Checkpoint)
        found = {}
        for player, shapes in self.shapes.items():
            sizes = [torch.Size(shape) for shape in shapes.values()]
            whole = whole_of(checkpoint, name=player, shapes=sizes)
            numbers = [size.numel() for size in sizes]
            for moment, flat in whole.moments.items():
                parts = zip(shapes, torch.split(flat, numbers), strict=True)
                found |= {f"{moment} {player}.{name}": part for name, part in parts}
            found |= {f"weight {player}.{name}": value for name, value in whole.weights.items() if name in shapes}
        return found


@pytest.fixture(scope="module")
def ran(corpus: Path, untrained: Path, ranks: Ranks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """`2 toy zero1` and so on: ranks, objective, engine."""
    folder = tmp_path_factory.mktemp("engines")
    manifests = {
        f"{objective} {name}": one
        for objective in ("toy", "toy_gan", "backbone")
        for name, one in kinds(objective).items()
    }
    found = {}
    for world in (1, 2):
        words = {"corpus": corpus, "folder": folder / str(world), "start_from": untrained}
        answers = ranks("steps", world=world, manifests=manifests, **words)
        assert all(answer == answers[0] for answer in answers)
        for name, answer in answers[0].items():
            found[f"{world} {name}"] = Ran(**answer, folder=folder / str(world) / name)
    return found


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], kind: str) -> float:
    """The distance of all tensors of a kind together, relative to their norm."""
    assert one.keys() == other.keys()
    names = [name for name in one if name.startswith(f"{kind} ")]
    assert len(names) >= 4
    a, b = (torch.cat([found[name].double().reshape(-1) for name in names]) for found in (one, other))
    return float((a - b).norm() / b.norm())


@pytest.mark.system
@pytest.mark.parametrize("objective", ["toy", "toy_gan", "backbone"])
def test_engines_agree_on_any_number_of_ranks_and_micro_batches(ran: dict[str, Ran], objective: str) -> None:
    """In float32, against plain torch on one rank with the whole step at once.

    Gradient, moments and weights are the same to 1e-6 of their norm. Single tensors whose gradient is a small
    difference of large sums (biases of the stop head) are up to 7e-6 apart, and so are losses after some steps, through
    AdamW, which divides a gradient by its own size: the order of sums does that; in float64 nothing is left of it.
    """
    first = ran[f"1 {objective} plain"]
    last = len(first.losses)
    gradient, end = first.state(1), first.state(last)
    for world in (1, 2):
        for name in kinds(objective):
            other = ran[f"{world} {objective} {name}"]
            where = f"{objective}, {name}, {world} ranks"
            assert apart(other.state(1), gradient, "exp_avg") <= 1e-6, where
            assert other.losses[0] == pytest.approx(first.losses[0], rel=1e-6), where
            assert other.norms[0] == pytest.approx(first.norms[0], rel=1e-6), where
            for step in range(1, last):
                assert other.losses[step] == pytest.approx(first.losses[step], rel=1e-5), where
                assert other.norms[step] == pytest.approx(first.norms[step], rel=1e-5), where
            assert apart(other.state(last), end, "weight") <= 1e-6, where
            assert apart(other.state(last), end, "exp_avg_sq") <= 2e-6, where
    losses = [sum(step.values()) for step in first.losses]
    assert losses[-1] < losses[0]
    assert first.samples >= (12 if objective == "backbone" else 5)


@pytest.mark.system
def test_a_backbone_in_pieces_is_validated_saved_and_made_a_bundle(
    corpus: Path, untrained: Path, ranks: Ranks, tmp_path: Path
) -> None:
    often = {"steps": 2, "schedule": {}, "validate_every": 1, "sample_every": 1, "save_every": 1}
    asked = manifest({"name": "backbone"}, engine=ENGINES["zero3"], **often)
    asked["data"] = {"seconds_per_step": 6, "max_clip_seconds": 3, "held_out": 0.2}
    del asked["model"]
    words = {"corpus": corpus, "folder": tmp_path, "start_from": untrained}
    ranks("train", world=2, manifests={"stage": asked}, **words)
    made, before = (load_bundle(folder).backbone for folder in (tmp_path / "stage" / "out" / "bundle", untrained))
    assert made is not None
    assert before is not None
    moved = {name: value for name, value in made.state_dict().items() if name in dict(before.named_parameters())}
    saved = opened(tmp_path / "stage" / "checkpoints" / "step-00000002")
    assert isinstance(saved, Checkpoint)
    weights = whole_of(saved, name="backbone", shapes=[]).weights
    assert all(torch.equal(value, weights[f"backbone.{name}"]) for name, value in moved.items())
    assert not all(torch.equal(value, before.state_dict()[name]) for name, value in moved.items())


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
    assert one.losses == pytest.approx(four.losses, rel=1e-12)
    assert one.grad_norms == pytest.approx(four.grad_norms, rel=1e-6)  # the norm itself is summed in float32
    assert whole.keys() == parts.keys()
    assert len(whole) == 6
    for name, grad in whole.items():
        assert float((grad - parts[name]).norm()) <= 1e-12 * float(grad.norm()), name


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


def test_deepspeed_puts_a_network_on_the_device_of_its_worker_whatever_the_launcher_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert launchers_words(World(rank=3, size=4, device=torch.device("cuda", 2)))["LOCAL_RANK"] == "2"
    assert launchers_words(World()) == {"DS_ACCELERATOR": "cpu", "LOCAL_RANK": "0"}
