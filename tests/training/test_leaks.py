"""A gradient outside the phase's player stops the stage with the name of the parameter."""

from pathlib import Path
from typing import Any

import pytest

from infra.manifest import parse
from training.errand import Errand
from training.leaks import Leak
from training.loop import Worker
from training.manifest import StageManifest
from training.world import World

pytestmark = pytest.mark.usefixtures("toys")


def worker_of(corpus: Path, folder: Path, *, objective: dict[str, Any], every: int = 1) -> Worker:
    manifest = {
        "stage": "toy",
        "model": "tiny",
        "objective": objective,
        "data": {"seconds_per_step": 6, "held_out": 0},
        "optimizer": {"lr": 0.01},
        "engine": {"name": "plain"},
        "launcher": "in_process",
        "try_heaviest": False,
        "steps": 6,
        "check_gradients_every": every,
    }
    stage = parse(StageManifest, manifest, where="test")
    (folder / "attempt").write_text("a")
    return Worker(Errand(stage, {"data": str(corpus)}, None, str(folder), str(folder / "out"), "a"), World(), print)


def go(worker: Worker) -> None:
    for step, micros, *_ in worker.batches(0):
        worker.step(step, micros)


@pytest.mark.parametrize("objective", [{"name": "toy"}, {"name": "toy_gan"}, {"name": "toy_leak"}], ids=str)
def test_a_right_objective_leaks_nowhere(corpus: Path, tmp_path: Path, objective: dict[str, Any]) -> None:
    go(worker_of(corpus, tmp_path, objective=objective))


@pytest.mark.parametrize(
    ("leak", "sentence"),
    [
        ("teacher", r"stage toy, step 1, player first: teacher\.weight has a gradient \(norm .*freeze it"),
        ("frozen", r"step 1, player first: first\.frozen\.weight has a gradient"),
        ("other", r"step 1, player second: .*net\.weight|looked_at\.0\.weight has a gradient"),
        ("wakes", r"step 1, player second: .* is another player's, and was made to ask for gradients"),
    ],
)
def test_a_gradient_where_none_belongs_is_a_sentence(corpus: Path, tmp_path: Path, leak: str, sentence: str) -> None:
    with pytest.raises(Leak, match=sentence):
        go(worker_of(corpus, tmp_path, objective={"name": "toy_leak", "leak": leak}))


def test_it_is_looked_for_every_few_steps_or_never(corpus: Path, tmp_path: Path) -> None:
    wrong = {"name": "toy_leak", "leak": "teacher"}
    with pytest.raises(Leak, match="step 4, "):
        go(worker_of(corpus, tmp_path, objective=wrong, every=4))
    go(worker_of(corpus, tmp_path, objective=wrong, every=0))
