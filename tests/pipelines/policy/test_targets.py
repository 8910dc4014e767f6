"""Target hours: the best thresholds that keep so many, and proof by the filters themselves."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from infra.workflow.node import Refused
from pipelines.policy.select import judge
from pipelines.policy.targets import target, yaml_of
from pipelines.row import Segment
from tests.pipelines.corpora import corpus_of, manifest_of, segment

COUNT = 400


def segments() -> list[Segment]:
    """Scores of English twice as good as of Chinese, some unknown, some too short for the corpus."""
    rng = np.random.default_rng(3)
    made = []
    for number in range(COUNT):
        language = "en" if number % 2 else "zh"
        mos = float(np.clip(rng.normal(3.5 if language == "en" else 2.5, 0.5), 1, 5))
        made.append(
            segment(
                number,
                language=language,
                mos_overall=None if number % 50 == 7 else mos,
                heard_cer=None if number % 5 else float(rng.uniform(0, 0.5)),
                seconds=1.0 if number % 10 == 3 else float(rng.uniform(2, 9)),
            )
        )
    return made


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    policy = manifest_of(keep=[{"name": "duration", "min": 1.5}, {"name": "mos", "min": 3.4}])
    return corpus_of(tmp_path_factory.mktemp("target") / "toy", segments(), manifest=policy)


def test_printed_policy_keeps_the_hours_that_it_says_by_the_filters_themselves(corpus: Path) -> None:
    total = sum(item.seconds for item in segments())
    for share in (0.1, 0.5, 0.8):
        found = target(corpus, hours=share * total / 3600, scores=["mos_overall", "heard_cer"])
        text = yaml_of(found, corpus="toy")
        policy = manifest_of(keep=[*yaml.safe_load(text)["keep"], {"name": "duration", "min": 1.5}])
        kept = sum(item.seconds for item in segments() if judge(item, policy).tier is not None) / 3600
        assert kept == pytest.approx(found.hours, abs=1e-9)
        assert kept >= share * total / 3600
        assert kept <= share * total / 3600 + 20 / 3600, "no more than the rounding lets in"


def test_every_language_keeps_its_best_by_its_own_scale(corpus: Path) -> None:
    found = target(corpus, hours=0.15, scores=["mos_overall"])
    table = found.thresholds[0]
    assert isinstance(table, dict)
    assert table["en"] - table["zh"] > 0.7
    assert table["zh"] < table["other"] < table["en"]
    shares = [found.by_language[code] / found.hours for code in ("en", "zh")]
    assert shares == pytest.approx([0.5, 0.5], abs=0.1)


def test_one_language_gets_one_number_and_a_line_that_names_it(corpus: Path) -> None:
    found = target(corpus, hours=0.1, scores=["mos_overall"], language="zh")
    policy = manifest_of(keep=[*yaml.safe_load(yaml_of(found, corpus="toy"))["keep"], {"name": "duration", "min": 1.5}])
    kept = [item for item in segments() if judge(item, policy).tier is not None]
    assert {item.language for item in kept} == {"zh"}
    assert sum(item.seconds for item in kept) / 3600 == pytest.approx(found.hours)
    assert isinstance(found.thresholds[0], float)


def test_better_segments_are_taken_before_worse_ones(corpus: Path) -> None:
    few, many = [target(corpus, hours=hours, scores=["mos_overall"], language="en") for hours in (0.05, 0.2)]
    assert isinstance(few.thresholds[0], float)
    assert isinstance(many.thresholds[0], float)
    assert few.thresholds[0] > many.thresholds[0]
    assert few.percentile > many.percentile


def test_more_than_there_is_is_a_sentence(corpus: Path) -> None:
    with pytest.raises(Refused, match="cannot be had: .* have these scores and pass the other filters"):
        target(corpus, hours=10, scores=["mos_overall"])
    with pytest.raises(Refused, match="no segment in fr passes"):
        target(corpus, hours=0.1, scores=["mos_overall"], language="fr")


def test_score_that_most_have_at_its_best_does_not_hide_the_other_one(tmp_path: Path) -> None:
    made = [segment(n, mos_overall=2 + n / 50, bandwidth_hz=8000.0 if n % 20 else 4000.0) for n in range(100)]
    found = target(corpus_of(tmp_path / "toy", made), hours=40, scores=["mos_overall", "bandwidth_hz"])
    assert found.hours == pytest.approx(40, abs=2)
    assert found.thresholds[1] == 8000.0
    assert found.thresholds[0] == pytest.approx(3.16, abs=0.1)
