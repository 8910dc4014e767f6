"""Calibration: the percentile of an anchor, with an interval that holds the truth as often as it says."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from infra.workflow.node import Refused
from pipelines.policy.calibrate import calibrate, interval, quantile, yaml_of
from tests.pipelines.corpora import corpus_of, manifest_of, segment


def test_table_has_a_threshold_for_every_language_with_enough_clips(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plan = [("en", 4.0, 80), ("zh", 3.0, 60), ("de", 2.0, 5)]
    made = [
        segment(1000 * n + k, language=code, mos_overall=float(rng.normal(mean, 0.2)), given_speaker=f"{code}{k % 12}")
        for n, (code, mean, count) in enumerate(plan)
        for k in range(count)
    ]
    root = corpus_of(tmp_path / "anchor", made)
    found = calibrate(root, scores=["mos_overall"], percentile=10)
    (anchors,) = found.values()
    assert [(a.language, a.clips, a.voices) for a in anchors] == [("en", 80, 12), ("zh", 60, 12), ("other", 145, 29)]
    english = sorted(s.mos_overall or 0 for s in made if s.language == "en")
    assert anchors[0].threshold == pytest.approx(english[7], abs=1e-3)
    assert all(a.low <= a.threshold <= a.high for a in anchors)
    text = yaml_of(found, corpus="anchor", percentile=10)
    (entry,) = manifest_of(keep=yaml.safe_load(text)["keep"]).keep
    assert entry.settings.min == {a.language: a.threshold for a in anchors}  # type: ignore[attr-defined]
    assert text.count("voices") == 3


def test_score_of_which_less_is_better_counts_from_the_top(tmp_path: Path) -> None:
    made = [segment(n, heard_cer=n / 100) for n in range(100)]
    ((anchor, _),) = calibrate(corpus_of(tmp_path / "anchor", made), scores=["heard_cer"], percentile=10).values()
    assert anchor.threshold == 0.89


def test_too_few_clips_are_a_sentence(tmp_path: Path) -> None:
    root = corpus_of(tmp_path / "anchor", [segment(n) for n in range(29)])
    with pytest.raises(Refused, match=r"no language of the anchor corpus has 30 clips with mos_overall .* 29 clips"):
        calibrate(root, scores=["mos_overall"], percentile=10)


def test_interval_holds_the_truth_as_often_as_it_says_for_independent_and_for_alike_clips() -> None:
    generator = np.random.default_rng(1)
    truth = quantile(np.sort(generator.normal(0, np.sqrt(2), 400_000)), np.ones(400_000), share=0.1)
    held = 0
    for _ in range(40):
        voices = np.repeat(np.arange(60), 5)
        values = generator.normal(0, 1, 60)[voices] + generator.normal(0, 1, 300)
        low, high = interval(values, voices, voices=60, share=0.1)
        held += low <= truth <= high
    assert held >= 34, f"{held} of 40 intervals of 95 % hold it"
