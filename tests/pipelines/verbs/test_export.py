"""`stipple corpus export`: nothing of an earlier export, or of anybody else, lies beside what is written."""

from pathlib import Path

import pytest

from infra.cli import main
from pipelines.policy.takedown import take_down, tombstone_for, touched
from tests.pipelines.corpora import corpus_of, segment


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return corpus_of(tmp_path / "toy", [segment(n, given_speaker=f"s{n % 2}") for n in range(4)])


@pytest.mark.parametrize("form", ["jsonl", "lhotse-shar"])
def test_export_after_a_takedown_does_not_go_into_the_folder_of_the_one_before(
    corpus: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["corpus", "export", str(corpus), "--format", form, "--out"]
    assert main([*words, str(tmp_path / "out")]) == 0
    before = sorted(tmp_path.rglob("out/**/*"))
    made = tombstone_for(corpus, field="speaker", values=["s1"], why="asked to", who="me")
    take_down(corpus, made, touched(corpus, made))
    capsys.readouterr()
    assert main([*words, str(tmp_path / "out")]) == 1
    assert f"{tmp_path / 'out'}: is not empty; give a new folder" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("out/**/*")) == before
    assert main([*words, str(tmp_path / "new")]) == 0


def test_energon_can_be_told_of_the_shards_in_the_folder_of_the_corpus_again_and_again(corpus: Path) -> None:
    words = ["corpus", "export", str(corpus), "--format", "energon", "--out", str(corpus)]
    assert [main(words), main(words)] == [0, 0]
