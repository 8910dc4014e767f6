"""What the tests of infra share: a small workflow of toy nodes in a folder of its own."""

import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.workflow import cli

HERE = Path(__file__).resolve().parent
KINDS = {"toy": "toy_kind", "train": "toy_kind"}

WORKFLOW = """
name: toys
store: store
tracking: sqlite:///{folder}/mlflow.db
cluster: cluster.yaml
nodes:
  one: {{kind: toy, manifest: toy.yaml}}
  two: {{kind: train, manifest: toy.yaml, inputs: {{left: one}}, set: {{number: 5}}}}
  three: {{kind: toy, manifest: toy.yaml, inputs: {{left: one, right: two}}}}
"""


@pytest.fixture
def quiet() -> Iterator[None]:
    """Libraries under MLflow warn of their own deprecations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the workflow `w.yaml`: one -> two -> three, and one -> three. It totals 2, 7 and 11."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.yaml").write_text("number: 2\n")
    (tmp_path / "cluster.yaml").write_text("address: local\n")
    (tmp_path / "w.yaml").write_text(WORKFLOW.format(folder=tmp_path))
    return tmp_path


@pytest.fixture
def stipple_run(
    toys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`stipple run w.yaml ...` in this process, with toy kinds and no shipper: (exit code, stdout, stderr)."""
    import argparse

    from infra.shipping import Shipping

    monkeypatch.setattr(Shipping, "start", lambda self: None)
    monkeypatch.setattr(Shipping, "finish", lambda self: None)

    def run(*words: str) -> tuple[int, str, str]:
        parser = argparse.ArgumentParser()
        cli.add_arguments(parser)
        code = cli.main(parser.parse_args(["w.yaml", *words]), KINDS)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and nothing in them: making one takes seconds, copying it none."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    code = f"from mlflow import MlflowClient; MlflowClient('sqlite:///{database}').search_experiments()"
    subprocess.run([sys.executable, "-c", code], cwd=database.parent, check=True, capture_output=True)
    return database


@pytest.fixture
def start(
    toys: Path, empty_mlflow: Path, popen: Callable[..., "subprocess.Popen[str]"]
) -> Callable[..., "subprocess.Popen[str]"]:
    """Start `stipple run w.yaml ...` with toy kinds as a process of its own, beside the test."""
    shutil.copy(empty_mlflow, toys / "mlflow.db")
    words = [sys.executable, str(HERE / "toy_stipple.py"), "w.yaml"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return lambda *more, **other: popen([*words, *more], cwd=toys, **(pipes | other))
