"""`stipple corpus select` and `calibrate`: what a person types, and what it says."""

import json
from pathlib import Path

import pytest
import yaml

from infra.cli import main
from tests.pipelines.corpora import corpus_of, manifest_of, segment


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    made = [segment(n, mos_overall=2 + n / 50, snr_db=float(n), language="en" if n % 2 else "zh") for n in range(100)]
    return str(corpus_of(tmp_path / "toy", made, manifest=manifest_of(keep=[{"name": "mos", "min": 3}])))


def test_what_if_tells_hours_without_a_model(corpus: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "select", corpus, "--what-if", "mos_overall>=3.5 and snr_db>=20"]) == 0
    told = capsys.readouterr().out
    assert "100.0 h scored in 100 segments, 50.0 h kept by its own policy" in told
    assert "kept                            25.0 h    25.0%   25 segments" in told
    assert main(["corpus", "select", corpus, "--what-if", "mos_overall>=3.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hours"]["given_up"] == 25.0


def test_sweep_and_target_and_calibrate_print_numbers(corpus: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "select", corpus, "--sweep", "mos_overall", "2.0:4.0:0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["2", "100.0"], ["2.5", "75.0"], ["3", "50.0"], ["3.5", "25.0"], ["4", "0.0"],
    ]  # fmt: skip
    assert main(["corpus", "select", corpus, "--target-hours", "40", "--by", "mos_overall,snr_db"]) == 0
    keep = yaml.safe_load(capsys.readouterr().out)["keep"]
    assert [entry["name"] for entry in keep] == ["mos", "snr"]
    assert main(["corpus", "calibrate", corpus, "--scores", "mos_overall", "--percentile", "20"]) == 0
    keep = yaml.safe_load(capsys.readouterr().out)["keep"]
    assert set(keep[0]["min"]) == {"en", "zh", "other"}
    assert main(["corpus", "calibrate", corpus, "--scores", "mos_overall", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["clips"] == 50


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["select", "{}", "--what-if", "moss>=3"], 2, "no score 'moss'"),
        (["select", "{}", "--what-if", "mos_overall>=3", "--out", "x"], 2, "--out would not be read with --what-if"),
        (
            ["select", "{}", "--sweep", "mos_overall", "2:4:1", "--by", "snr_db"],
            2,
            "--by would not be read with",
        ),
        (["select", "{}", "--where", "snr_db>3", "--by", "x"], 2, "--by would not be read without --target-hours"),
        (["select", "{}", "--sweep", "mos_overal", "1:2:0.5"], 2, "did you mean 'mos_overall'"),
        (["select", "{}", "--sweep", "mos_overall", "1:2"], 2, "is not FROM:TO:STEP"),
        (["select", "{}", "--sweep", "mos_overall", "1:2:0"], 2, "is not FROM:TO:STEP"),
        (["select", "{}", "--target-hours", "5000"], 1, "cannot be had"),
        (["select", "{}", "--target-hours", "5", "--by", "seconds"], 2, "no filter holds 'seconds'"),
        (["select", "{}/spool", "--what-if", "seconds>1"], 1, "ledger.parquet: cannot be read"),
        (["calibrate", "{}", "--scores", "mos_overall", "--percentile", "60"], 2, "lies between 0 and 50"),
        (["calibrate", "{}", "--scores", "utmoss"], 2, "no filter holds 'utmoss'"),
    ],
)
def test_mistake_is_a_sentence(
    corpus: str, capsys: pytest.CaptureFixture[str], words: list[str], code: int, told: str
) -> None:
    assert main(["corpus", *(word.format(corpus) for word in words)]) == code
    assert told in capsys.readouterr().err


def test_what_a_selection_keeps_is_told_as_json(corpus: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "select", corpus, "--where", "seconds >= 0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sum(told["hours"].values()) > 0
    assert "kept" not in told


def test_policy_is_written_as_a_view_and_licenses_are_proved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    licenses = ("CC-BY-4.0", "CC-BY-NC-4.0")
    made = [segment(n, mos_overall=2 + n / 5, license=licenses[n % 2]) for n in range(10)]
    root, view = str(corpus_of(tmp_path / "toy", made)), tmp_path / "view"
    assert main(["corpus", "select", root, "--allow", "commercial"]) == 1
    told = capsys.readouterr().out
    assert "licenses in toy@" in told
    assert "license CC-BY-NC-4.0 does not allow commercial (nc: no commercial use)" in told
    policy = tmp_path / "policy.yaml"
    policy.write_text("name: toy\ntransforms: [probe, segment, mos]\nkeep: [{name: mos, min: 3.0}]\n")
    words = ["corpus", "select", root, "--policy", str(policy), "--allow", "commercial", "--out", str(view)]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "2 samples of toy, CC-BY-4.0" in told
    assert "licenses in what is kept (commercial)" in told
    assert main(["corpus", "select", str(view), "--allow", "commercial"]) == 0
    assert "CC-BY-NC" not in capsys.readouterr().out
    assert main(["corpus", "peek", str(view)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["corpus", "select", root]) == 2
    assert "say what to select by" in capsys.readouterr().err
    assert main(["corpus", "select", root, "--allow", "comercial"]) == 2
    assert "there are: commercial, derivatives" in capsys.readouterr().err


def test_view_lies_in_the_store_and_nowhere_else(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    monkeypatch.setattr("infra.workflow.single.STORE", store)
    before = sorted(tmp_path.rglob("*"))
    words = ["corpus", "select", corpus, "--where", "mos_overall>=3.5", "--name"]
    for name in ("../x", str(tmp_path / "y"), "a/b", "..", "", ".x", "x\n"):
        assert main([*words, name]) == 2
        assert f"{name!r} is not letters" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    assert main([*words, "good-1.0"]) == 0
    assert (store / "_selections" / "good-1.0" / "selection.json").is_file()
