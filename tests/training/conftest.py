"""What the training tests share: a small corpus, toy objectives, and ranks as processes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from speech import build_corpus  # noqa: E402


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 24 clips of 1 to 3 s, 22 of them with text."""
    return build_corpus(tmp_path_factory.mktemp("corpora") / "mini")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The objectives of tests/training/toys, by name, beside the real ones."""
    import training.objectives

    monkeypatch.setattr(training.objectives, "__path__", [*training.objectives.__path__, str(HERE / "toys")])


Ranks = Callable[..., list[Any]]


@pytest.fixture
def ranks(tmp_path: Path) -> Ranks:
    """Run a task of `ranks.py` on a number of processes; what each of them returns, in rank order."""

    def run(task: str, *, world: int, expect: int = 0, **arguments: Any) -> list[Any]:
        number = len(list(tmp_path.glob("meet-*")))
        meet, answers = tmp_path / f"meet-{number}", tmp_path / f"answer-{number}"
        meet.touch()
        (tmp_path / f"store-{number}").unlink(missing_ok=True)
        words = [task, str(world), str(tmp_path / f"store-{number}"), str(answers), json.dumps(arguments, default=str)]
        started = [
            subprocess.Popen(
                [sys.executable, str(HERE / "ranks.py"), str(rank), *words],
                cwd=ROOT,
                env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(world)
        ]
        told = [process.communicate(timeout=300)[0] for process in started]
        codes = [process.returncode for process in started]
        assert codes == [expect] * world, "\n".join(told)
        return [json.loads(Path(f"{answers}.{rank}").read_text()) for rank in range(world)] if expect == 0 else told

    return run
