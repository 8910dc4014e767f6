"""Two evaluations of the same lines, paired: what is told apart, what is not, and what is not compared at all."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.cli import main
from infra.workflow.node import Refused
from pipelines.evaluation.compare import Difference, compare
from pipelines.evaluation.scores import interval, numbered
from tests.pipelines.evaluation.evaluations import SPEECH, evaluate

VOICES, LINES = 30, 4


def facts(
    name: str, scores: Any, *, how: str = "by ear", better: str = "lower", kind: str = "speech"
) -> dict[str, Any]:
    """scores.json of an evaluation whose line n is in voice n // LINES."""
    rows = [
        {
            "key": f"line{number:03d}",
            "text": "a",
            "language": "en",
            "voice": f"v{number // LINES}",
            "scores": {"wer": score},
        }
        for number, score in enumerate(scores)
    ]
    measured = {"wer": {"unit": "", "better": better, "how": how}}
    bundle = {"name": name, "digest": "d" * 64}
    return {"kind": kind, "bundle": bundle, "systems": {"bundle": {"metrics": measured, "utterances": rows}}}


def only(first: dict[str, Any], second: dict[str, Any]) -> Difference:
    (found,) = compare(first, second).measures
    return found


def test_what_is_the_same_in_both_does_not_hide_a_difference() -> None:
    random = np.random.default_rng(1)
    hard = np.repeat(random.normal(0.5, 0.3, VOICES), LINES)
    before, after = (hard + shift + random.normal(0, 0.02, VOICES * LINES) for shift in (0.0, -0.03))
    groups = numbered([f"v{number // LINES}" for number in range(VOICES * LINES)])
    alone = [interval(values, groups, resamples=500, seed=0) for values in (before, after)]
    assert alone[1][1] > alone[0][0]  # unpaired, they overlap
    found = only(facts("before", before), facts("after", after))
    assert found.verdict == "second is better"
    assert found.low is not None
    assert found.high is not None
    assert found.low < -0.03 < found.high < 0
    assert (found.scored, found.voices) == (VOICES * LINES, VOICES)
    assert only(facts("after", after), facts("before", before)).verdict == "first is better"
    assert only(facts("x", before, better="higher"), facts("y", after, better="higher")).verdict == "first is better"
    assert only(facts("x", before, better="neither"), facts("y", after, better="neither")).verdict == "differs"


def test_equal_models_are_rarely_told_apart_though_voices_are_not_independent() -> None:
    random, apart = np.random.default_rng(2), 0
    for _ in range(100):
        before = random.normal(0.5, 0.1, VOICES * LINES)
        by_voice = np.repeat(random.normal(0, 0.1, VOICES), LINES)  # one likes this voice better, the other that one
        found = only(facts("a", before), facts("b", before + by_voice + random.normal(0, 0.02, VOICES * LINES)))
        apart += found.verdict != "no difference is shown"
    assert apart <= 15  # of 100, where 5 are expected; drawn line by line, some 30 would be


def test_lines_that_are_not_the_same_and_scores_that_are_missing_are_counted_out() -> None:
    first, second = facts("a", [0.0, 0.1, 0.2, 0.3, 0.4]), facts("b", [0.5, 0.5, "silent", 0.5, 0.5, 0.5])
    second["systems"]["bundle"]["utterances"][1]["text"] = "another"
    found = compare(first, second)
    assert (found.lines, found.alone) == (4, 3)
    (wer,) = found.measures
    assert (wer.scored, wer.voices) == (3, 2)
    assert wer.first == pytest.approx((0.0 + 0.3 + 0.4) / 3)
    assert wer.difference == pytest.approx(0.5 - (0.0 + 0.3 + 0.4) / 3)


def test_another_judge_is_not_compared_and_too_few_voices_tell_nothing() -> None:
    found = compare(facts("a", [0.0] * 5, how="by whisper"), facts("b", [1.0] * 5, how="by moonshine"))
    assert (found.measures, found.unlike) == ((), ("wer",))
    assert only(facts("a", [0.0] * 3), facts("b", [1.0] * 3)).verdict == "too few voices to tell"
    assert only(facts("a", ["silent"] * 3), facts("b", [1.0] * 3)).verdict == "not scored by both"


def test_evaluations_of_other_things_are_refused() -> None:
    with pytest.raises(Refused, match=r"a@dddddddd and b@dddddddd, and no line is in both"):
        compare(facts("a", [0.0]), facts("b", []))
    with pytest.raises(Refused, match="speech and reconstruction"):
        compare(facts("a", [0.0]), facts("b", [0.0], kind="reconstruction"))


def test_two_evaluations_as_they_are_written_are_compared(
    corpus: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(SPEECH, tmp_path / "a", bundle=bundle, data=corpus)
    longer = {**SPEECH, "speech": {**SPEECH["speech"], "sampler": {**SPEECH["speech"]["sampler"], "max_seconds": 1.0}}}
    evaluate(longer, tmp_path / "b", bundle=bundle, data=corpus)
    assert main(["eval", "compare", str(tmp_path / "a"), str(tmp_path / "b" / "out")]) == 0
    told = capsys.readouterr().out
    assert "2 lines of both" in told
    assert "0.480 -> 0.960 s, +0.480 [+0.480, +0.480]" in told
    assert main(["eval", "compare", str(tmp_path / "a"), str(tmp_path / "b" / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdicts"]["stopped"] == "no difference is shown"
    assert main(["eval", "compare", str(tmp_path / "a"), str(tmp_path)]) == 1
    assert "no evaluation (it has no scores.json)" in capsys.readouterr().err
