"""An estimate is true where everything was sampled, honest where not, told in words, and held against what came."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from infra.manifest import parse
from infra.workflow.node import Refused
from models.frozen import WeightsError
from pipelines.build import made_chain
from pipelines.chain import Chain
from pipelines.forecast.estimate import Estimate, estimate
from pipelines.forecast.expansion import Amount, Ran, bootstrap_counts, expanded
from pipelines.forecast.prediction import compare, hold_against, key_of, predict, recall, remember, report, table
from pipelines.forecast.sampling import Lengths, lengths, order, strata, window
from pipelines.manifest import CorpusManifest
from pipelines.planned import PLAN, planned
from pipelines.readers import folder
from pipelines.row import Recording
from tests.pipelines.packable import build, items

MANIFEST = {
    "name": "toy",
    "transforms": ["probe", "segment", "loudness"],
    "keep": [{"name": "loudness", "min": -30, "max": 0}],
    "tiers": {"loud": [{"name": "loudness", "min": -23, "max": 0}], "rest": []},
}


@pytest.fixture
def recordings(tmp_path: Path) -> list[Recording]:
    """Thirty sounds of 2 to 5 s in two folders, quiet, medium and loud by turns; and one that is none."""
    for number in range(30):
        wave = np.random.default_rng(number).normal(0, (0.003, 0.05, 0.2)[number % 3], (2 + number % 4) * 16000)
        path = tmp_path / "in" / ("a" if number < 20 else "b") / f"{number:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave.astype(np.float32), 16000)
    (tmp_path / "in" / "b" / "bad.wav").write_bytes(b"RIFF")
    return list(folder.recordings(folder.Config(), tmp_path / "in"))


@pytest.fixture
def manifest() -> CorpusManifest:
    return parse(CorpusManifest, MANIFEST, where="toy")


@pytest.fixture
def chain(manifest: CorpusManifest) -> Chain:
    """It takes every sound for speech."""
    made = Chain(manifest)
    made.segment.vad.probabilities = lambda wave_S: np.full(-(-len(wave_S) // 512), 0.9, np.float32)
    return made


def known(recordings: Sequence[Recording]) -> Lengths:
    return lengths(recordings, random=np.random.default_rng(0))


def total(recordings: list[Recording], keep: tuple[int, ...]) -> float:
    """Hours of the recordings whose number, modulo 3, is one of these."""
    numbers = [int(Path(item.name).stem) for item in recordings if item.name != "b/bad.wav"]
    return sum(2 + number % 4 for number in numbers if number % 3 in keep) / 3600


def test_a_sample_of_everything_is_the_truth(recordings: list[Recording], chain: Chain) -> None:
    found = estimate(chain, recordings, known=known(recordings), most=99)
    assert found.sampled == found.recordings == 31
    hours = {name[6:]: amount for name, amount in found.amounts.items() if name.startswith("hours/")}
    assert hours["in"].value == pytest.approx(total(recordings, (0, 1, 2)))
    assert hours["kept"].value == pytest.approx(total(recordings, (1, 2)), rel=1e-3)
    assert found.amounts["tier/loud"].value == pytest.approx(total(recordings, (2,)), rel=1e-3)
    assert hours["kept"].low == pytest.approx(hours["kept"].high), "nothing is left to chance"
    assert sum(hours[status].value for status in ("kept", "dropped", "failed")) == pytest.approx(hours["in"].value)
    assert found.amounts["bytes/shards"].value > 0.6 * 2 * 16000 * 3600 * hours["kept"].value
    assert found.amounts["cpu/loudness"].value > 0


def test_a_part_says_about_the_same_and_how_sure_it_is(recordings: list[Recording], chain: Chain) -> None:
    found = estimate(chain, recordings, known=known(recordings), most=16, seed=3)
    assert found.sampled == 16
    kept = found.amounts["hours/kept"]
    assert kept.low < kept.value < kept.high
    assert kept.low <= total(recordings, (1, 2)) <= kept.high
    assert found.amounts["hours/in"].value == pytest.approx(total(recordings, (0, 1, 2)), rel=1e-3)
    again = estimate(chain, recordings, known=known(recordings), most=16, seed=3)
    assert again.amounts["hours/kept"] == kept, "the same seed, the same sample"


def test_the_time_that_was_given_is_kept(recordings: list[Recording], chain: Chain) -> None:
    found = estimate(chain, recordings, known=known(recordings), seconds_budget=0.0)
    assert found.sampled == 1


def test_nothing_to_sample_is_a_sentence(chain: Chain) -> None:
    with pytest.raises(Refused, match="no recording to draw a sample from"):
        estimate(chain, [], known=known([]))


def test_missing_weights_are_a_sentence() -> None:
    heard = {"name": "transcribe", "routes": {"en": "whisper"}, "checkpoints": {"whisper": "/no/such.pt"}}
    steps = ["probe", "segment", "language", heard]
    with pytest.raises(Refused, match=r"no Whisper checkpoint at /no/such\.pt"):
        made_chain(parse(CorpusManifest, {"name": "toy", "transforms": steps}, where="toy"))


def test_weights_that_turn_out_to_be_none_are_a_sentence(recordings: list[Recording], chain: Chain) -> None:
    def no_weights(clips: Any) -> Any:
        raise WeightsError("large-v3.pt is no official Whisper checkpoint")

    chain.rest["loudness"] = no_weights
    with pytest.raises(Refused, match="no official Whisper checkpoint"):
        estimate(chain, recordings, known=known(recordings))


def test_lengths_come_from_catalogs_headers_and_bytes(recordings: list[Recording], monkeypatch: Any) -> None:
    import pipelines.forecast.sampling as sampling

    random = np.random.default_rng(0)
    whole = lengths(recordings, random=random)
    assert whole.read == 31
    assert whole.seconds.sum() / 3600 == pytest.approx(total(recordings, (0, 1, 2)))
    monkeypatch.setattr(sampling, "MOST_HEADERS", 10)
    part = lengths(recordings, random=random)
    assert part.read == 10
    assert part.seconds.sum() == pytest.approx(whole.seconds.sum(), rel=0.02), "bytes say it, too"
    told = lengths([replace(recordings[0], uri="/none.wav", seconds=7.0)], random=random)
    assert told.seconds.tolist() == [7.0]


def test_every_stratum_is_drawn_from_first_and_the_rest_by_what_it_holds(recordings: list[Recording]) -> None:
    random = np.random.default_rng(0)
    seconds = lengths(recordings, random=random).seconds
    stratum = strata(recordings, seconds, sample=31)
    assert len(set(stratum.tolist())) == 3
    drawn = list(order(stratum, seconds, random=random))
    assert sorted(drawn) == list(range(31))
    assert np.bincount(stratum[drawn[:9]]).tolist() == [3, 3, 3]
    share = np.bincount(stratum, weights=seconds) / seconds.sum()
    assert np.bincount(stratum[drawn[:20]]) / 20 == pytest.approx(share, abs=0.11)


def test_a_long_recording_is_sampled_in_part(recordings: list[Recording]) -> None:
    random = np.random.default_rng(0)
    part, seconds = window(replace(recordings[0], text="much"), 3600.0, random=random)
    assert seconds == part.end_seconds - part.start_seconds == 120.0  # type: ignore[operator]
    assert 0 <= (part.start_seconds or 0) <= 3480
    assert part.text is None
    assert window(recordings[0], 100.0, random=random) == (recordings[0], 100.0)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Two hundred samples of forty from a population of a thousand, of which a third is dropped."""
    draw = np.random.default_rng(0)
    seconds = draw.lognormal(1.5, 0.6, 1000)
    kept = seconds * (draw.random(1000) > 0.33)
    stratum = (seconds > 6).astype(np.int64)
    inside, error = [], []
    for seed in range(200):
        random = np.random.default_rng(seed)
        rows = list(order(stratum, seconds, random=random))[:40]
        ran = [Ran(int(stratum[n]), seconds[n], True, {"kept": kept[n]}) for n in rows]
        found = expanded(ran, stratum, seconds, random=random)["kept"]
        inside.append(found.low <= kept.sum() <= found.high)
        error.append(found.value / kept.sum() - 1)
    assert 0.9 <= np.mean(inside) <= 0.99
    assert abs(np.mean(error)) < 0.02, "not biased"


def test_resampling_draws_each_once_on_average_with_the_spread_of_a_sample() -> None:
    random = np.random.default_rng(0)
    drawn = bootstrap_counts(3, times=4000, random=random)
    assert drawn.mean(axis=0) == pytest.approx([1, 1, 1], abs=0.05)
    values = np.array([1.0, 2.0, 6.0])
    assert np.var(drawn @ values / 3) == pytest.approx(np.var(values, ddof=1) / 3, rel=0.1)


ESTIMATE = Estimate(
    recordings=1000, sampled=40, sampled_seconds=300.0, strata=3, seed=0, spent_seconds=60.0, setup_seconds=8.0,
    slowest_seconds=30.0,
    amounts={
        "hours/in": Amount(20.0, 20.0, 20.0), "hours/kept": Amount(12.1, 11.2, 13.0), "wall": Amount(3600, 3000, 4200),
        "cpu": Amount(1800, 1700, 1900),
        "cpu/text": Amount(1, 1, 1), "cpu/mos": Amount(1800, 1500, 2100), "audio/mos": Amount(50000, 49000, 51000),
        "bytes/work": Amount(2e9, 1.9e9, 2.1e9), "bytes/shards": Amount(1.5e9, 1.4e9, 1.6e9),
        "tier/gold": Amount(2.0, 1.0, 3.0),
    },
)  # fmt: skip


def test_an_estimate_is_told_in_words() -> None:
    told = table(ESTIMATE, workers=(1, 4, 200))
    words = " ".join(told.split())
    for part in (
        "40 of 1,000 recordings, 5.0 min of audio, from 3 strata, seed 0, in 1 min 00 s",
        "hours kept 12.1 h 11.2 h .. 13.0 h",
        "gold 2.0 h",
        "mos 30.0 min",
        "(it gave 50% of its time)",
        "work 2.0 GB 1.9 GB .. 2.1 GB",
    ):
        assert part in words, part
    assert ESTIMATE.wall_seconds(1) == Amount(3620, 3020, 4220)
    assert ESTIMATE.wall_seconds(4).value == 920
    assert ESTIMATE.wall_seconds(200).value == 50, "the longest recording is not made shorter"


def test_what_came_is_held_against_it(tmp_path: Path) -> None:
    facts = {
        "hours": {"in": 20.0, "kept": 12.4, "dropped": 7.6, "failed": 0.0},
        "costs": {
            "mos": {"cpu_seconds": 2200.0, "audio_seconds": 50000.0},
            "text": {"cpu_seconds": 1.0, "audio_seconds": 50000.0},
        },
    }
    found = {one.what: one for one in compare(ESTIMATE, facts, shard_bytes=1.55e9)}
    assert found["hours kept"].sentence == "hours kept: predicted 12.1 h (11.2 h..13.0 h), was 12.4 h (-2.4%, inside)"
    assert not found["processor time of mos"].inside
    assert found["shards"].inside
    assert "processor time of text" not in found, "a second of an hour says nothing"
    facts["costs"]["mos"]["audio_seconds"] = 100.0
    assert "processor time of mos" not in {one.what for one in compare(ESTIMATE, facts)}, "it was taken over"
    told = list(report(tmp_path, list(found.values())))
    assert json.loads((tmp_path / "prediction.json").read_text())["sentences"] == told


def test_an_estimate_is_found_again_for_the_same_work_alone(tmp_path: Path, manifest: CorpusManifest) -> None:
    key = key_of(manifest, chain="c", units=["b", "a"])
    remember(ESTIMATE, tmp_path, key=key)
    assert recall(tmp_path, key=key) == ESTIMATE
    assert key == key_of(manifest, chain="c", units=["a", "b"])
    other = parse(CorpusManifest, {**MANIFEST, "keep": []}, where="toy")
    for changed in (key_of(other, chain="c", units=["a", "b"]), key_of(manifest, chain="d", units=["a", "b"])):
        assert recall(tmp_path, key=changed) is None


def test_what_a_plan_predicts_is_found_by_the_build(recordings: list[Recording], chain: Chain, tmp_path: Path) -> None:
    manifest = chain.manifest
    store, out = tmp_path / "store", tmp_path / "out"
    plan = planned(recordings, limits=manifest.units, path=tmp_path / PLAN)
    told = predict(chain, plan, known=known(recordings), store=store, most=12)
    assert "12 of 31 recordings" in told
    units = list(plan.names())
    facts = {"hours": {"in": 1.0, "kept": 0.5}}
    out.mkdir()
    build(out, items(tmp_path, 3))
    lines = hold_against(out, manifest, store=store, chain=chain.fingerprint, units=units, facts=facts)
    assert [line.split(":")[0] for line in lines] == ["hours in", "hours kept", "shards"]
    assert (out / "prediction.json").is_file()
    assert hold_against(out, manifest, store=store, chain="other", units=units, facts=facts) == []
