"""Acceptance sampling: the numbers of the exact binomial, the sample, and what a file of verdicts says."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from scipy.stats import binom

from pipelines.acceptance import FORMAT, allowed_bad, drawn, judge, read_verdicts, result_of
from pipelines.shards import CorpusError

DIGEST = "0123456789abcdef" * 2


@pytest.mark.parametrize(("sample", "allowed"), [(58, -1), (59, 0), (93, 1), (124, 2), (153, 3), (208, 5)])
def test_so_many_bad_clips_are_allowed(sample: int, allowed: int) -> None:
    assert allowed_bad(sample) == allowed
    assert binom.cdf(allowed, sample, 0.05) <= 0.05 < binom.cdf(allowed + 1, sample, 0.05)


def test_three_bad_of_153_pass_and_four_do_not() -> None:
    assert result_of(sample=153, of=10**6, judged=153, bad=3).status == "accepted"
    passed = result_of(sample=153, of=10**6, judged=153, bad=3)
    assert passed.bound == pytest.approx(0.0499, abs=1e-4)
    assert "accepted: 153 of 153 clips judged, 3 bad (3 allowed); 5.0% at most are bad" in passed.sentence
    assert result_of(sample=153, of=10**6, judged=153, bad=4).status == "refused"
    assert result_of(sample=153, of=10**6, judged=20, bad=4).status == "refused", "no need to listen on"
    assert result_of(sample=153, of=10**6, judged=152, bad=0).status == "open"


def test_a_corpus_smaller_than_the_sample_is_judged_whole() -> None:
    assert result_of(sample=40, of=40, judged=40, bad=1).status == "accepted"
    assert result_of(sample=40, of=40, judged=40, bad=1).bound == pytest.approx(0.025)
    assert result_of(sample=40, of=40, judged=40, bad=2).status == "refused", "2 of 40 are 5 %"
    assert result_of(sample=40, of=40, judged=10, bad=0).bound == pytest.approx(0.75)


def chosen_of(keys: list[str], *, digest: str = DIGEST) -> list[str]:
    return [keys[number] for number in drawn(pyarrow.array(keys), digest=digest)]


def test_the_sample_is_drawn_by_the_version_of_the_corpus() -> None:
    keys = [f"{number:026d}" for number in range(1000)]
    sample = chosen_of(keys)
    assert len(set(sample)) == 153
    assert sample == chosen_of(list(reversed(keys)))
    assert sample != chosen_of(keys, digest="f" * 32)
    mean = sum(map(int, sample)) / len(sample)
    assert 400 < mean < 600


def test_only_drawn_clips_count() -> None:
    keys = [f"{number:026d}" for number in range(1000)]
    sample = chosen_of(keys)
    words: dict[str, Any] = dict.fromkeys(sample, "good") | {sample[0]: "bad"}
    assert judge(words, keys=pyarrow.array(keys), digest=DIGEST).status == "accepted"
    chosen = next(key for key in keys if key not in sample)
    with pytest.raises(CorpusError, match="not in the sample of this corpus"):
        judge({**words, chosen: "good"}, keys=pyarrow.array(keys), digest=DIGEST)


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "cannot be read"), ("[]", "is no file of verdicts"), ('{"format": "x", "verdicts": {}}', "is no file of"),
     (json.dumps({"format": FORMAT, "verdicts": {"k": "fine"}}), "good or bad, but one is 'fine'")],
)  # fmt: skip
def test_a_wrong_file_is_a_sentence(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(CorpusError, match=told):
        read_verdicts(tmp_path / "v.json")
