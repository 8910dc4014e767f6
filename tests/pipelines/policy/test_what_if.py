"""What-if: hours kept and lost by stored scores, and the same answer as the policy itself would give."""

import json
from pathlib import Path

import numpy as np
import pytest

from infra.manifest import ManifestError
from pipelines import ledger
from pipelines.policy.conditions import read_condition
from pipelines.policy.scored import read_scored, score_names
from pipelines.policy.select import judge
from pipelines.policy.what_if import sweep, table_of, what_if
from pipelines.row import Segment
from tests.pipelines.corpora import corpus_of, manifest_of, segment

POLICY = manifest_of(keep=[{"name": "mos", "min": 3.0}])


def segments() -> list[Segment]:
    facts = [
        (4.0, 30.0, "en"), (3.5, 10.0, "en"), (2.0, 30.0, "zh"), (2.0, 10.0, "zh"), (None, 30.0, "de"),
        (3.0, 20.0, None),
    ]  # fmt: skip
    return [
        segment(number, mos_overall=mos, snr_db=snr, language=language, source=f"s{number % 2}")
        for number, (mos, snr, language) in enumerate(facts)
    ]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return corpus_of(tmp_path / "toy", [*segments(), segments()[0]], manifest=POLICY)


def ask(root: Path, text: str, where: str | None = None) -> dict[str, object]:
    known = score_names(root)
    narrowed = read_condition(where, known=known, where="--where") if where else None
    return what_if(root, kept=read_condition(text, known=known, where="--what-if"), where=narrowed)


def test_hours_are_told_by_condition_language_source_and_tier(corpus: Path) -> None:
    facts = ask(corpus, "mos_overall >= 3 and snr_db >= 20")
    assert facts["hours"] == {
        "scored": 6.0, "kept": 2.0, "lost": 4.0, "kept_now": 3.0, "gained": 0.0, "given_up": 1.0,
    }  # fmt: skip
    assert facts["hours_in"] == 7.0
    assert facts["by_condition"] == {
        "mos_overall >= 3": {"first": 3.0, "any": 3.0, "only": 2.0, "not_known": 1.0},
        "snr_db >= 20": {"first": 1.0, "any": 2.0, "only": 1.0, "not_known": 0.0},
    }
    assert facts["by_language"] == {
        "en": {"scored": 2.0, "kept": 1.0, "lost": 1.0}, "zh": {"scored": 2.0, "kept": 0.0, "lost": 2.0},
        "de": {"scored": 1.0, "kept": 0.0, "lost": 1.0}, "unknown": {"scored": 1.0, "kept": 1.0, "lost": 0.0},
    }  # fmt: skip
    assert facts["by_source"] == {
        "s0": {"scored": 3.0, "kept": 1.0, "lost": 2.0}, "s1": {"scored": 3.0, "kept": 1.0, "lost": 2.0}
    }  # fmt: skip
    assert set(facts["by_tier"]) == {"all", "(none)"}  # type: ignore[call-overload]
    told = table_of(facts)
    assert "mos_overall >= 3" in told
    assert "2 segments" in told


def test_answer_is_the_same_however_few_rows_are_read_at_a_time(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [("mos_overall >= 3 and snr_db >= 20", None), ("snr_db >= 20", "language == 'zh'"), ("utmos >= 3", None)]
    whole = [ask(corpus, *words) for words in asked]
    for rows in (1, 2, 5):
        monkeypatch.setattr(ledger, "BATCH", rows)
        parts = [ask(corpus, *words) for words in asked]
        assert json.dumps(parts) == json.dumps(whole), "in the same order, too"


def test_where_narrows_what_is_looked_at(corpus: Path) -> None:
    facts = ask(corpus, "snr_db >= 20", where="language == 'zh' and status == 'dropped'")
    assert facts["hours"]["scored"] == 2.0  # type: ignore[index]
    assert facts["hours"]["gained"] == 1.0  # type: ignore[index]


def test_answer_is_what_the_policy_itself_says(corpus: Path) -> None:
    strict = manifest_of(keep=[{"name": "mos", "min": 3.2}, {"name": "snr", "min": 25}])
    expected = sum(judge(item, strict).tier is not None for item in segments())
    facts = ask(corpus, "mos_overall >= 3.2 and (snr_db >= 25 or snr_db is None)")
    assert facts["segments"] == {"scored": 6, "kept": expected}


def test_rate_in_characters_is_computed(corpus: Path) -> None:
    facts = ask(corpus, "chars_per_second > 0.002 and seconds == 3600")
    assert facts["segments"] == {"scored": 6, "kept": 6}


def test_sweep_agrees_with_asking_each_threshold(corpus: Path) -> None:
    scored = read_scored(corpus, {"mos_overall"})
    steps = np.array([1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5])
    for below, sign in ((False, ">="), (True, "<=")):
        points = sweep(scored, "mos_overall", steps, keep_below=below)
        for at, hours, count in points:
            facts = ask(corpus, f"mos_overall {sign} {at}")
            assert (facts["hours"]["kept"], facts["segments"]["kept"]) == (hours, count)  # type: ignore[index]


def test_words_are_not_swept(corpus: Path) -> None:
    scored = read_scored(corpus, {"language"})
    with pytest.raises(ManifestError, match="language is string, and thresholds are for numbers"):
        sweep(scored, "language", np.arange(2.0), keep_below=False)
