"""Thresholds: a number, or a number a language; strict when read, lenient when rounded."""

from dataclasses import replace

import pytest
import yaml

from infra.manifest import ManifestError
from pipelines.filters import mos, speech_rate
from pipelines.policy.thresholds import BARE, bound_of, limit, rounded, yaml_line
from tests.pipelines.corpora import manifest_of, segment


def test_each_language_has_its_own_threshold_and_the_rest_share_one() -> None:
    cfg = mos.Config.model_validate({"min": {"en": 3.4, "zh": 3.0, "other": 3.2}})
    spoken = [("en", 3.3), ("zh", 3.3), ("zh-TW", 3.0), ("de", 3.3), ("de", 3.1), (None, 3.2)]
    kept = [mos.keep(replace(BARE, language=code, mos_overall=value), cfg) for code, value in spoken]
    assert kept == [False, True, True, True, False, True]
    assert limit(2.5, BARE) == 2.5


def test_language_that_came_with_the_recording_counts_where_none_was_found() -> None:
    cfg = speech_rate.Config()
    dense = segment(0, text="a" * 40, seconds=20.0, language=None, given_language="zh")
    assert speech_rate.keep(dense, cfg)
    assert not speech_rate.keep(replace(dense, given_language="en"), cfg)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"en": 3.0}, "keep.0: min: the table names en; add `other`"),
        ({"en": "high", "other": 3}, "the threshold for 'en' is a number, but is 'high'"),
        ({False: 3.0, "other": 3}, "a language is text, but YAML reads False; put quotes around it"),
        ("3.0", "a threshold is a number, or a table of language -> number, but is '3.0'"),
        (True, "a threshold is a number"),
        ([3.0], "a threshold is a number"),
        (float("nan"), "a threshold is a number"),
        ({"en": float("nan"), "other": 3}, "the threshold for 'en' is a number"),
    ],
)
def test_wrong_threshold_is_a_sentence(value: object, told: str) -> None:
    with pytest.raises(ManifestError) as caught:
        manifest_of(keep=[{"name": "mos", "min": value}])
    assert told in str(caught.value)


def test_filter_of_a_score_is_found_with_its_side_and_what_it_does_with_the_unknown() -> None:
    found = [bound_of(score, where="--by") for score in ("mos_overall", "heard_cer", "snr_db", "clipped_ratio")]
    assert [(b.filter, b.setting, b.unknown_passes) for b in found] == [
        ("mos", "min", False), ("agreement", "max", True), ("snr", "min", True), ("clipping", "max", False),
    ]  # fmt: skip
    with pytest.raises(ManifestError, match="did you mean 'mos_overall'"):
        bound_of("mos_overal", where="--by")


def test_printed_line_is_read_back_as_it_was_meant() -> None:
    table = {"en": 3.4123, "no": 0.000012, "other": float("inf")}
    line = yaml_line(bound_of("mos_overall", where="--by"), table)
    (entry,) = manifest_of(keep=yaml.safe_load(line)).keep
    assert entry.settings.min == table  # type: ignore[attr-defined]


def test_rounding_keeps_more_never_less() -> None:
    for value in (3.14159265, 7218.712, -0.000123456, 1e-9, 0.1 + 0.2, 12345678.9):
        low, high = rounded(value, below=False), rounded(value, below=True)
        assert low <= value <= high
        assert high - low <= 2e-4 * abs(value)
    assert rounded(7218.71, below=False) == 7218.7
    assert rounded(3.0, below=False) == rounded(3.0, below=True) == 3.0
