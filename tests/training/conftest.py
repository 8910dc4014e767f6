"""What the training tests share: a small corpus, toy objectives, and ranks as processes."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from speech import build_corpus  # noqa: E402

from tests.processes import starting  # noqa: E402

if TYPE_CHECKING:
    from infra.workflow.node import Job, Made


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 24 clips of 1 to 3 s, 22 of them with text."""
    return build_corpus(tmp_path_factory.mktemp("corpora") / "mini")


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny model that any stage after the first can start from: a backbone, and statistics."""
    import torch

    from models.backbone.config import ModelConfig
    from models.runtime.bundle import new_bundle, save_bundle
    from training.manifest import load_model
    from training.objectives.backbone import new_backbone

    model = load_model("tiny")
    made = new_bundle(ModelConfig.from_dicts(model.config, model.llm), seed=1)
    width = made.config.latent_dim
    made.latent_mean_D, made.latent_var_D = torch.zeros(width), torch.ones(width)
    made.backbone = new_backbone(made, seed=0)
    folder = tmp_path_factory.mktemp("start") / "bundle"
    save_bundle(made, folder, card={})
    return folder


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The objectives of tests/training/toys, by name, beside the real ones."""
    import training.objectives

    monkeypatch.setattr(training.objectives, "__path__", [*training.objectives.__path__, str(HERE / "toys")])


@pytest.fixture
def job(corpus: Path, tmp_path: Path) -> "Callable[..., Job]":
    """Make the job of a stage in this process: a manifest, and what it starts from."""
    from infra.journal import About, JournalRun
    from infra.manifest import parse
    from infra.workflow.node import Job, Made
    from pipelines.shards import card_digest
    from training.manifest import StageManifest

    def make(manifest: dict[str, Any], *, work: str = "work", start_from: "Made | None" = None) -> Job:
        out = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        for folder in (out, tmp_path / work):
            folder.mkdir(exist_ok=True)
        facts = {"digest": card_digest(corpus), "fingerprint": "f" * 64, "run": "r" * 32}
        data = Made(kind="corpus", name="mini", out=corpus, **facts)
        inputs = {"data": data} | ({"start_from": start_from} if start_from else {})
        return Job(
            name="toy",
            manifest=parse(StageManifest, manifest, where="test"),
            inputs=inputs,
            out=out,
            work=tmp_path / work,
            run=JournalRun(tmp_path / "journal", About("a" * 32, "toy", "test", "train")),
            connect=lambda: pytest.fail("in_process must not start Ray"),
            attempt=1,
            say=lambda line: print(line),
        )

    return make


Ranks = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """Run a task of `ranks.py` on a number of processes; what each of them returns, in rank order."""

    def run(task: str, *, world: int, **arguments: Any) -> list[Any]:
        place = tmp_path_factory.mktemp("ranks")
        words = [task, str(world), str(place / "store"), str(place / "answer"), json.dumps(arguments, default=str)]
        with starting() as popen:
            processes = [
                popen(
                    [sys.executable, str(HERE / "ranks.py"), str(rank), *words],
                    cwd=ROOT,
                    env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                for rank in range(world)
            ]
            told = [process.communicate(timeout=500)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * world, "\n".join(told)
        return [json.loads(Path(f"{place / 'answer'}.{rank}").read_text()) for rank in range(world)]

    return run


ENGINES: dict[str, dict[str, Any]] = {
    "plain": {"name": "plain"},
    "zero1": {"name": "deepspeed", "zero_stage": 1},
    "zero2": {"name": "deepspeed", "zero_stage": 2, "accumulation": 2},
    "zero3": {"name": "deepspeed", "zero_stage": 3},
    "offloaded": {"name": "deepspeed", "zero_stage": 2, "accumulation": 2, "offload": True},
}


@dataclass(frozen=True)
class Runs:
    """The same toy stages twice on two ranks: once to the end, and once stopped after 8 of 10 updates."""

    manifests: dict[str, Any]
    whole: list[Any]
    folder: Path

    def at(self, run: str, name: str) -> Path:
        """Folder of `whole` or `cut`, of one engine."""
        return self.folder / run / name


@pytest.fixture(scope="session")
def runs(corpus: Path, ranks: Ranks, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Stages with every engine, whole and interrupted; the interrupted ones with their checkpoints of steps 3 and 6."""
    manifests = {
        name: {
            "stage": "toy",
            "model": "tiny",
            "objective": {"name": "toy_gan"} if name == "zero1" else {"name": "toy"},
            "data": {"seconds_per_step": 12, "held_out": 0.1},
            "optimizer": {"lr": 0.01, "clip": 0.5},
            "schedule": {"shape": "exponential", "final_lr": 0.001, "warmup_steps": 3},
            "engine": engine,
            "steps": 10,
            "save_every": 4,
            "validate_every": 5,
            "check_gradients_every": 2,
            "seed": 2,
        }
        for name, engine in ENGINES.items()
    }
    folder = tmp_path_factory.mktemp("runs")
    whole = ranks("train", world=2, corpus=corpus, folder=folder / "whole", manifests=manifests)
    ranks("train", world=2, corpus=corpus, folder=folder / "cut", manifests=manifests, until=8)
    return Runs(manifests=manifests, whole=whole, folder=folder)
