"""`stipple eval run`: what it refuses before any work, and the numbers it prints."""

from pathlib import Path

import pytest

from infra.cli import main
from infra.workflow.node import Made
from models.runtime.bundle import save_bundle
from tests.small import small_bundle

MANIFEST = "manifests/eval/speech.yaml"
SCORES = """{"kind": "speech", "trained_on": ["corpus toy@01234567"], "trained_on_unknown": ["nobody looked"],
"systems": {"bundle": {"finish": {"stop": 1, "length": 2}, "metrics": {
"wer": {"mean": 0.75, "low": 0.5, "high": 1.0, "unit": "", "scored": 2, "total": 3, "voices": 2},
"dnsmos_overall": {"mean": null, "low": null, "high": null, "unit": "", "scored": 0, "total": 3, "voices": 0}}}}}"""


def test_missing_bundle_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "run", MANIFEST, "--of", str(tmp_path / "gone"), "--data", str(tmp_path)]) == 1
    assert "there is no bundle at" in capsys.readouterr().err


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "run", MANIFEST, "--of", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "name a folder that does not" in capsys.readouterr().err


def test_numbers_are_printed_and_the_report_is_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_bundle(small_bundle(), tmp_path / "stage" / "out" / "bundle")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "scores.json").write_text(SCORES)
    (tmp_path / "made" / "report.html").write_text("page")
    asked = {}

    def single(kind: str, manifest: Path, **rest: object) -> Made:
        asked.update({"kind": kind, "manifest": str(manifest), **rest})
        return Made(kind="eval", name="e", out=tmp_path / "made", digest="d", fingerprint="f", run="r")

    monkeypatch.setattr("infra.workflow.single.single", single)
    words = ["--of", str(tmp_path / "stage"), "--data", "corpus", "--out", str(tmp_path / "copy"), "--set", "seed=3"]
    assert main(["eval", "run", MANIFEST, *words]) == 0
    assert asked["inputs"] == {"bundle": tmp_path / "stage" / "out" / "bundle", "data": Path("corpus")}
    assert asked["overrides"] == {"seed": "3"}
    told = capsys.readouterr().out
    assert "0.750 [0.500, 1.000]" in told
    assert "2 of 3, 2 voices" in told
    assert "not scored" in told
    assert "Whether the bundle was trained on more of it is not known: nobody looked." in told
    assert "The bundle was trained on what this corpus is, or is made of (corpus toy@01234567)" in told
    assert "ended: 1 stop, 2 length" in told
    assert told.splitlines()[-1] == str(tmp_path / "copy" / "report.html")
    assert (tmp_path / "copy" / "report.html").read_text() == "page"
