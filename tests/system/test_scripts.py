"""The two commands of the README: they parse, and say what they are told wrong. Their full runs are what CI does."""

import subprocess
from pathlib import Path

import pytest

from tests.processes import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]


def bash(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a script."""
    return subprocess.run(
        ["bash", *words], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


@pytest.mark.parametrize("script", ["quickstart", "test"])
def test_help_and_wrong_words(script: str, tmp_path: Path) -> None:
    path = str(ROOT / "infra" / f"{script}.sh")
    done = bash(path, "--help")
    assert done.returncode == 0
    assert f"bash infra/{script}.sh [--venv DIR]" in done.stdout
    done = bash(path, "--wat", cwd=tmp_path)
    assert done.returncode == 2
    assert "no option --wat" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_quickstart_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = bash(str(ROOT / "infra" / "quickstart.sh"), "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "nowhere: no such folder of recordings\n"


def test_continuous_integration_runs_exactly_the_tests() -> None:
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if not line.startswith("#")]
    assert lines[-1] == "exec bash infra/test.sh"


def test_environment_of_another_checkout_is_taken_over_and_says_so(tmp_path: Path) -> None:
    """With a pip that only notes what it is asked for: what is installed is the business of CI."""
    root, venv = tmp_path / "checkout", tmp_path / "venv"
    (root / "infra" / "constraints").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "infra" / "constraints" / "py311.txt").write_text("numpy==2\n")
    (venv / "bin").mkdir(parents=True)
    pip = venv / "bin" / "python"
    pip.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    pip.chmod(0o755)
    prepare = f'set -euo pipefail; source {ROOT}/infra/environment.sh; prepare {root} {venv} dev; echo "$PYTHONPATH"'

    def told() -> tuple[str, str]:
        done = subprocess.run(
            ["bash", "-c", prepare], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
        )
        asked = (tmp_path / "asked").read_text()
        (tmp_path / "asked").write_text("")
        return asked, done.stderr + done.stdout

    asked, said = told()
    assert f"-e {root}[dev]" in asked
    asked, said = told()
    assert asked == ""
    told_so, path = said.splitlines()
    assert told_so == f"environment: {venv} is up to date"
    assert path.split(":")[0] == str(root), "its own code comes first, whatever the environment holds"
    marker = venv / ".stipple-installed"
    marker.write_text(marker.read_text().replace(str(root), "/elsewhere"))
    asked, said = told()
    assert asked.endswith(f"--no-deps -e {root}\n")
    assert "had its stipple from /elsewhere" in said
    assert told()[0] == ""
