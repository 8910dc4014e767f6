"""Select and funnel: a verdict a segment with all its reasons, and hours that add up."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.manifest import ManifestError, parse
from pipelines.funnel import Funnel, table
from pipelines.ledger import RecordingFact
from pipelines.manifest import CorpusManifest, semantic
from pipelines.policy.select import judge
from pipelines.policy.transcribed import told_elsewhere
from pipelines.row import Segment, as_row
from tests.pipelines.corpora import verdicts

BASE: dict[str, Any] = {"name": "toy", "transforms": ["probe", "segment", "mos", "bandwidth", "transcribe"]}
GOOD = Segment(
    key="k1", corpus="toy", recording="a.wav", recording_sha256="0", license="CC0", source="", start_sample=0,
    end_sample=80000, rate_hz=16000, channels=1, seconds=5.0, mos_overall=3.5, bandwidth_hz=8000.0, text="some text",
)  # fmt: skip


def manifest(**facts: Any) -> CorpusManifest:
    return parse(CorpusManifest, {**BASE, **facts}, where="toy")


def test_first_tier_that_takes_it_is_its_tier() -> None:
    policy = manifest(tiers={"clean": [{"name": "mos", "min": 3}], "rest": [{"name": "mos", "min": 2}]})
    tiers = [judge(replace(GOOD, mos_overall=mos), policy).tier for mos in (3.5, 2.5, 1.5, None)]
    assert tiers == ["clean", "rest", None, None]
    assert judge(replace(GOOD, mos_overall=1.5), policy).reasons == ("mos",)


def test_all_reasons_are_told_and_the_first_with_its_value() -> None:
    policy = manifest(keep=[{"name": "mos", "min": 3}, {"name": "duration", "max": 4}, "bandwidth"])
    verdict = judge(replace(GOOD, mos_overall=1.23456), policy)
    assert verdict.tier is None
    assert verdict.reasons == ("mos", "duration")
    assert verdict.detail == "mos: mos_overall is 1.235"
    assert judge(replace(GOOD, bandwidth_hz=None, seconds=3), policy).detail == "bandwidth: bandwidth_hz is not known"
    assert judge(replace(GOOD, seconds=3), policy).tier == "all"


def test_same_bytes_are_kept_once() -> None:
    rows = [as_row(GOOD), as_row(replace(GOOD, recording="b.wav")), as_row(replace(GOOD, key="k2"))]
    assert [v.reasons for v in verdicts(rows, manifest())] == [(), ("duplicate",), ()]


def test_copy_that_the_policy_keeps_is_kept_whichever_comes_first() -> None:
    policy = manifest(keep=["has_text", {"name": "mos", "min": 3}])
    bare, told = replace(GOOD, text=None), replace(GOOD, recording="b.wav", given_text="some text")
    again, faint = replace(GOOD, recording="c.wav"), replace(told, recording="d.wav", mos_overall=1.0)
    reasons = [v.reasons for v in verdicts(map(as_row, (bare, told, again)), policy)]
    assert reasons == [("has_text",), (), ("duplicate",)]
    reasons = [v.reasons for v in verdicts(map(as_row, (bare, faint, bare, faint, told)), policy)]
    assert reasons == [("has_text",), ("mos",), ("duplicate",), ("mos",), ()]


def test_copy_with_a_transcript_is_kept_in_place_of_those_without() -> None:
    policy = manifest(keep=[{"name": "mos", "min": 3}])
    bare = [replace(GOOD, recording=f"a{n}.wav", key=f"k{n}", start_sample=n * 20000, end_sample=n * 20000 + 20000)
            for n in range(5)]  # fmt: skip
    told = replace(GOOD, recording="b.wav", given_text="some text")
    other = replace(GOOD, recording="other.wav", recording_sha256="1", key="k9")

    def kept(*segments: Segment, withheld: Callable[[Any], Any] = lambda row: None) -> list[str]:
        rows = [as_row(segment) for segment in segments]
        elsewhere = told_elsewhere(lambda call: iter([call(rows[:2]), call(rows[2:])]), policy, withheld=withheld)
        judged = zip(rows, verdicts(rows, policy, elsewhere=elsewhere), strict=True)
        return [row["recording"] for row, verdict in judged if verdict.tier is not None]

    assert kept(*bare, told, other) == ["a4.wav", "b.wav", "other.wav"], "a4 is behind the end of what has a text"
    assert kept(told, *bare, other) == ["b.wav", "a4.wav", "other.wav"]
    everything = [segment.recording for segment in (*bare, other)]
    assert kept(*bare, replace(told, mos_overall=1.0), other) == everything, "the one with a text is refused"
    assert kept(*bare, told, other, withheld=lambda row: row["given_text"]) == everything, "or taken down"
    assert kept(*bare, replace(told, recording="a0.wav"))[-1] == "a0.wav"


def test_threshold_can_change_without_the_chain() -> None:
    strict, loose = manifest(keep=[{"name": "mos", "min": 4}]), manifest(keep=[{"name": "mos", "min": 1}])
    assert (judge(GOOD, strict).tier, judge(GOOD, loose).tier) == (None, "all")


def test_mistakes_of_a_manifest_are_told_at_once() -> None:
    with pytest.raises(ManifestError) as caught:
        manifest(keep=["durration", {"name": "mos", "maximum": 3}], shard={})
    told = str(caught.value)
    assert "3 problems" in told
    assert "did you mean 'duration'" in told
    assert "maximum: no such key" in told
    assert "did you mean 'shards'" in told


def test_filter_without_its_transform_is_a_mistake() -> None:
    with pytest.raises(ManifestError, match="purity judges speaker_cosine_min, which the transform 'speaker' sets"):
        manifest(keep=["purity"])
    with pytest.raises(ManifestError, match="begin with probe, segment,"):
        manifest(transforms=["segment", "probe"])


def test_identity_is_what_decides_the_bytes() -> None:
    one = semantic(manifest())
    assert one == semantic(manifest(workers=3, purpose="x", units={"max_mb": 1}, errors={"max_failed_share": 1}))
    assert one != semantic(manifest(keep=["mos"]))
    assert one != semantic(manifest(shards={"soft_mb": 3}))


def row(key: str | None, seconds: float, status: str, *reasons: str, recording: str = "a.wav") -> dict[str, Any]:
    language = {"language": "en", "given_language": None, "tier": "all" if status == "kept" else None}
    language |= {"source": "", "transform": {"between": "segment", "decode": "probe"}.get("".join(reasons), "select")}
    return {"key": key, "recording": recording, "item_seconds": seconds, "status": status, "reasons": list(reasons)} | (
        language
    )


def funnel(recordings: list[RecordingFact], rows: list[dict[str, Any]]) -> dict[str, Any]:
    sums = Funnel(["probe", "segment", "select"])
    sums.add(recordings, rows)
    return sums.facts()


def test_hours_are_told_by_first_any_and_only_reason() -> None:
    rows = [
        row("k1", 3600, "kept"),
        row("k2", 1800, "dropped", "mos", "bandwidth"),
        row("k3", 900, "dropped", "bandwidth"),
        row(None, 900, "dropped", "between"),
        row(None, 0, "failed", "decode", recording="b.wav"),
    ]
    facts = funnel([RecordingFact("a.wav", 7200, 3), RecordingFact("b.wav", 0, 0)], rows)
    assert facts["by_transform"]["segment"] == {"in": 2.0, "dropped": 0.25, "failed": 0.0, "out": 1.75}
    assert facts["by_transform"]["select"]["out"] == 1.0
    assert facts["hours"] == {"in": 2.0, "kept": 1.0, "dropped": 1.0, "failed": 0.0}
    bandwidth = facts["by_reason"]["bandwidth"]
    assert (bandwidth["first"], bandwidth["any"], bandwidth["only"]) == (0.25, 0.75, 0.25)
    assert facts["recordings_failed"] == 1
    told = table(facts)
    assert "1.0 h    50.0%   1 of 3 segments" in told
    assert "between" in told


def test_of_very_many_sources_the_last_are_summed_and_no_hour_is_lost() -> None:
    rows = [{**row(f"k{number}", 36, "kept"), "source": f"source {number:03d}"} for number in range(203)]
    by_source = funnel([RecordingFact("a.wav", 203 * 36, 203)], [*rows[:-1], {**rows[-1], "source": "source 000"}])[
        "by_source"
    ]
    assert len(by_source) == 201
    assert by_source["other"]["kept"] == pytest.approx(0.02), "two came when there were 200"
    assert by_source["source 000"]["kept"] == pytest.approx(0.02), "known ones still get their own"


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([row("k1", 10, "kept")], "2 segments were cut, but 1"),
        ([row("k1", 5, "kept"), row("k2", 4.9, "kept")], "10.0000 s came in, but 9.9000 s"),
        ([row("k1", 5, "kept"), row("k2", 5, "kept"), row(None, 5, "dropped", "x")], "are accounted for"),
        ([row("k1", 5, "kept"), row("k2", 5, "dropped")], "dropped without a reason"),
        ([row("k1", 5, "kept"), row("k2", 5, "kept"), row(None, 1, "dropped", "x", recording="z")], "never met"),
    ],
)
def test_hours_that_do_not_add_up_are_found(rows: list[dict[str, Any]], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        funnel([RecordingFact("a.wav", 10, 2)], rows)
