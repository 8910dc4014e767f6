"""`stipple train`: mistakes on the command line are sentences, and nothing is written."""

from pathlib import Path

import pytest

from infra.cli import main
from infra.mistakes import sentence_of
from infra.workflow.node import Made
from training.ends import SENTENCES


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["replay", "STAGE", "--steps", "5"], 2, "--steps 5: write A..B, like 100..120"),
        (["replay", "STAGE", "--steps", "a..b"], 2, "--steps a..b: write A..B"),
        (["replay", "STAGE", "--steps", "1..2"], 1, "no training was begun there"),
        (["export", "STAGE", "OUT"], 1, "no training was begun there"),
        (["run", "manifests/train/nothing.yaml", "--data", "STAGE"], 2, "nothing.yaml"),
        (["resume", "manifests/train/tiny/soar.yaml", "--data", "STAGE", "--data", "OUT"], 2, "data_NAME=OUT"),
    ],
)
def test_mistakes_are_sentences(
    words: list[str], code: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stage").mkdir()
    places = {"STAGE": str(tmp_path / "stage"), "OUT": str(tmp_path / "out")}
    assert main(["train", *(places.get(word, word) for word in words)]) == code
    assert told.replace("OUT", places["OUT"]) in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["stage"]


def test_run_prints_its_bundle_and_leaves_the_losses_to_the_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {name: {"mel": 1.0} for name in ("first", "last", "validation_first", "validation")} | {"over": 1}
    made = Made("train", "soar", tmp_path / "out", digest="d", fingerprint="f", run="r", summary=told)
    monkeypatch.setattr("infra.workflow.single.single", lambda *_, **__: made)
    assert main(["train", "run", "manifests/train/tiny/soar.yaml", "--data", "corpus"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'bundle'}\n"


@pytest.mark.parametrize("kind", SENTENCES)
def test_what_a_stage_tells_in_a_sentence_plan_and_replay_tell_so_too(kind: type[Exception]) -> None:
    told = sentence_of(kind("what is wrong", []) if kind.__name__ == "ManifestError" else kind("what is wrong"))
    assert told is not None
    assert told[0].startswith("what is wrong")
