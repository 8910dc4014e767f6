"""`stipple lineage list`: a line an artifact, from the store alone."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.cli import main


def test_list_has_a_line_an_artifact_newest_first_and_says_where_mlflow_is_behind(
    toys: Path, stipple_run: Callable[..., tuple[int, str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    stipple_run("--until", "two")
    words = ["lineage", "list", "--store", str(toys / "store"), "--tracking", f"sqlite:///{toys}/mlflow.db"]
    (toys / "store" / "two").rename(toys / "store" / "a_node_of_thirty_letters_or_so")
    assert main(words) == 0
    listed = capsys.readouterr().out
    assert len({line.index(" made ") for line in listed.splitlines()}) == 1
    (toys / "store" / "a_node_of_thirty_letters_or_so").rename(toys / "store" / "two")
    assert main(words) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.split()[0] in ("one", "two")]
    assert [line.split()[:2] for line in lines] == [["two", "made"], ["one", "made"]]
    assert all(
        re.search(r" [0-9a-f]{8} run [0-9a-f]{8}  [0-9a-f]{8}  .* ago  \(MLflow is behind\)$", line) for line in lines
    )


def test_list_of_no_store_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lineage", "list", "--store", str(tmp_path / "none")]) == 1
    assert (
        "none: no store there; `stipple run manifests/workflows/quickstart.yaml` makes one" in capsys.readouterr().err
    )


def test_what_is_no_store_is_not_shipped_and_gets_no_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for action in ("ship", "rebuild"):
        assert main(["lineage", action, "--store", str(tmp_path)]) == 1
        assert "no run is noted in it; name the store by --store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
