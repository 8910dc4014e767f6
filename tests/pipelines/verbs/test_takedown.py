"""`stipple corpus takedown`: what a person types, what it says, and what is left."""

from pathlib import Path

import pytest

from infra.cli import main
from infra.objects import Folder
from pipelines.packing.publish import publish
from pipelines.policy.tombstones import FILE, read_tombstones
from pipelines.shards import open_corpus
from tests.pipelines.corpora import corpus_of, segment


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return corpus_of(tmp_path / "toy", [segment(n, given_speaker=f"s{n % 3}") for n in range(9)])


def test_dry_run_says_and_does_nothing_and_the_real_one_hides(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["corpus", "takedown", str(corpus), "--speaker", "s1", "--reason", "asked to", "--by", "privacy@x.org"]
    assert main([*words, "--dry-run"]) == 0
    assert "toy: 3 samples, 3.0 h; 3 segments" in capsys.readouterr().out
    assert len(open_corpus(corpus)) == 9
    assert main(words) == 0
    assert len(open_corpus(corpus)) == 6
    (stone,) = read_tombstones(corpus / FILE)
    assert (stone.who, stone.why, stone.field, stone.values) == ("privacy@x.org", "asked to", "speaker", ("s1",))
    capsys.readouterr()
    assert main(["corpus", "verify", str(corpus)]) == 0
    assert "as written; 3 of them hidden by tombstones" in capsys.readouterr().out
    assert main(words) == 0
    assert f"written down before, {stone.when}" in capsys.readouterr().out
    assert read_tombstones(corpus / FILE) == [stone]


def test_what_is_not_there_is_a_sentence(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "takedown", str(corpus), "--speaker", "s11", "--reason", "x"]) == 1
    assert "toy: nothing has the speaker 's11'; did you mean 's1'?" in capsys.readouterr().err


def test_hash_that_nobody_has_is_noted_with_a_warning_but_not_without_a_reason(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["corpus", "takedown", str(corpus), "--sha256", "e" * 64, "--reason"]
    assert main([*words, " "]) == 2
    assert "is empty; say why" in capsys.readouterr().err
    assert main([*words, "asked to"]) == 0
    assert "warning: no segment has the sha256" in capsys.readouterr().out
    assert [stone.values for stone in read_tombstones(corpus / FILE)] == [("e" * 64,)]


def test_published_place_without_a_corpus_is_refused_before_anything_is_hidden(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(corpus, Folder(tmp_path / "published"))
    (tmp_path / "publshed").mkdir()
    words = ["corpus", "takedown", str(corpus), "--speaker", "s1", "--reason", "asked to", "--published"]
    assert main([*words, str(tmp_path / "publshed")]) == 1
    assert "has no corpus.json" in capsys.readouterr().err
    assert not list((tmp_path / "publshed").iterdir())
    assert len(open_corpus(corpus)) == 9
    assert main([*words, str(tmp_path / "published")]) == 0
    assert "toy, published: 3 samples" in capsys.readouterr().out
    assert len(open_corpus(tmp_path / "published")) == 6
