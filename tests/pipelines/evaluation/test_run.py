"""Whole evaluations of a small bundle on a small corpus: what they write, and that they tell the truth."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from infra.journal import read_from
from infra.manifest import ManifestError, parse
from infra.objects import Folder
from infra.workflow.node import Refused
from models.frozen import WeightsError
from pipelines.evaluation import reconstruction, run, speech
from pipelines.evaluation.choosing import choose
from pipelines.evaluation.manifest import Choice, EvalManifest
from pipelines.evaluation.metrics import Utterance, checked
from pipelines.packing.layout import index_name
from pipelines.shards import Corpus, Rows
from tests.pipelines.evaluation.evaluations import RECONSTRUCTION, SPEECH, evaluate


def test_reconstruction_is_scored_beside_an_untrained_network(corpus: Path, bundle: Path, tmp_path: Path) -> None:
    outcome, scores = evaluate(RECONSTRUCTION, tmp_path, bundle=bundle, data=corpus)
    assert set(scores["systems"]) == {"bundle", "untrained"}
    for system in scores["systems"].values():
        summary = system["metrics"]["mel_distance"]
        assert (summary["scored"], summary["total"]) == (2, 2)
        assert summary["low"] <= summary["mean"] <= summary["high"]
    assert outcome.summary["means"]["bundle/mel_distance"] > 0
    assert len(list((tmp_path / "out" / "wavs").rglob("*.wav"))) == 4


def test_speech_is_scored_beside_its_prompts_and_cut_speech_is_called_cut(
    corpus: Path, bundle: Path, tmp_path: Path
) -> None:
    outcome, scores = evaluate(SPEECH, tmp_path, bundle=bundle, data=corpus)
    own = scores["systems"]["bundle"]
    assert own["finish"] == {"length": 2}
    assert own["metrics"]["stopped"]["mean"] == 0.0
    assert own["metrics"]["seconds"]["mean"] == pytest.approx(0.48)
    assert own["metrics"]["speaker_cosine"]["scored"] == 2
    prompts = scores["systems"]["recordings"]["metrics"]
    assert prompts["speaker_cosine"]["unscored"] == {"no voice to compare with": 2}
    assert prompts["stopped"]["unscored"] == {"no stop head was asked": 2}
    assert outcome.summary["utterances"] == 2


def test_report_holds_its_sound_and_fetches_nothing(corpus: Path, bundle: Path, tmp_path: Path) -> None:
    evaluate(SPEECH, tmp_path, bundle=bundle, data=corpus)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('src="data:audio/flac;base64,') == 6, "two spoken, each beside its prompt, and the prompts"
    assert "http" not in page
    assert "length" in page
    assert "mama memo" in page
    assert "2 of 2, 2 voices" in page
    assert "(100 times, seed 0)" in page
    assert "num_steps: 2" in page, "every setting"
    assert "Whether the bundle was trained on it is not known: bundle@dddddddd is not in the store" in page


def test_numbers_and_files_are_told_to_the_run(corpus: Path, bundle: Path, tmp_path: Path) -> None:
    evaluate(RECONSTRUCTION, tmp_path, bundle=bundle, data=corpus)
    records, _ = read_from(tmp_path / "journal" / "driver.jsonl", 0)
    metrics = {key for record in records if record["t"] == "metrics" for key in record["v"]}
    assert {"bundle/mel_distance", "bundle/mel_distance_scored", "untrained/mel_distance"} <= metrics
    assert "report.html" in json.dumps(records)


def test_same_evaluation_has_the_same_digest_and_another_seed_another(
    corpus: Path, bundle: Path, tmp_path: Path
) -> None:
    first, _ = evaluate(SPEECH, tmp_path / "a", bundle=bundle, data=corpus)
    again, _ = evaluate(SPEECH, tmp_path / "b", bundle=bundle, data=corpus)
    other, _ = evaluate({**SPEECH, "seed": 1}, tmp_path / "c", bundle=bundle, data=corpus)
    assert first.digest == again.digest != other.digest


def test_missing_weights_of_a_metric_are_told_before_anything_is_spoken(
    corpus: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "spoken", lambda *_, **__: pytest.fail("spoken for nothing"))
    manifest = {**SPEECH, "metrics": [{"name": "speaker", "backend": "wavlm_sv", "checkpoint": "gone.pth"}]}
    with pytest.raises(WeightsError, match=r"no WavLM speaker checkpoint at .*gone\.pth"):
        evaluate(manifest, tmp_path, bundle=bundle, data=corpus)


def test_missing_prompt_of_a_list_is_counted_not_skipped(bundle: Path, tmp_path: Path) -> None:
    listing = tmp_path / "meta.lst"
    listing.write_text("utt1|what it says|gone.wav|say this\n")
    manifest = {**SPEECH, "speech": {"list_file": str(listing), "list_language": "en"}}
    _, scores = evaluate(manifest, tmp_path / "job", bundle=bundle)
    own = scores["systems"]["bundle"]
    assert own["finish"] == {"missing": 1}
    assert own["metrics"]["stopped"]["missing"] == 1
    assert own["metrics"]["stopped"]["unscored"] == {"its prompt is missing": 1}
    assert scores["systems"]["recordings"]["metrics"]["stopped"]["unscored"] == {"its prompt is missing": 1}
    assert (scores["list"]["lines"], len(scores["list"]["digest"])) == (1, 64)
    assert str(listing) in (tmp_path / "job" / "out" / "report.html").read_text()


def test_what_is_not_finite_is_missing_and_spoils_no_mean(
    corpus: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, made = reconstruction.reconstruct, []

    def spoiled(audiovae: Any, asked: Utterance) -> Utterance:
        found = whole(audiovae, asked)
        assert found.wave_S is not None
        found.wave_S[3] = math.nan if not made else 0.0
        made.append(found)
        return checked(found)

    monkeypatch.setattr(reconstruction, "reconstruct", spoiled)
    _, scores = evaluate({**RECONSTRUCTION, "metrics": ["mel", "dnsmos"]}, tmp_path, bundle=bundle, data=corpus)
    for summary in scores["systems"]["bundle"]["metrics"].values():
        assert math.isfinite(summary["mean"])
        assert summary["unscored"] == {"what came out has samples that are not numbers": 1}
    assert scores["systems"]["bundle"]["finish"] == {"missing": 1, "none": 1}


def test_list_with_a_torn_line_is_a_sentence(bundle: Path, tmp_path: Path) -> None:
    listing = tmp_path / "meta.lst"
    listing.write_text("utt1|only two\n")
    with pytest.raises(Refused, match="line 1: should be utt"):
        evaluate({**SPEECH, "speech": {"list_file": str(listing)}}, tmp_path / "job", bundle=bundle)


def test_lengths_that_no_recording_has_are_a_sentence(corpus: Path, bundle: Path, tmp_path: Path) -> None:
    manifest = {**RECONSTRUCTION, "reconstruction": {"inputs": {"min_seconds": 50, "max_seconds": 60}}}
    with pytest.raises(Refused, match="no utterance of 50 to 60 s"):
        evaluate(manifest, tmp_path, bundle=bundle, data=corpus)


def test_evaluation_without_the_corpus_that_it_needs_is_a_sentence(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="needs recordings"):
        evaluate(RECONSTRUCTION, tmp_path / "a", bundle=bundle)
    with pytest.raises(Refused, match="prompts come from a corpus"):
        evaluate(SPEECH, tmp_path / "b", bundle=bundle)


def test_chosen_utterances_change_with_the_seed_and_take_voices_in_turn(tmp_path: Path) -> None:
    rows = [
        {"key": f"k{number}", "seconds": 2.0, "recording": "one.wav", "speaker": "much" if number < 20 else "little"}
        for number in range(22)
    ]
    (tmp_path / "index").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / index_name(0))
    place = Folder(tmp_path)
    opened = Corpus(place=place, name="toy", digest="", licenses=(), rows=Rows(place, [len(rows)]))
    chosen = [choose(opened, Choice(utterances=4), seed=seed) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    for numbers in chosen:
        assert sorted(rows[number]["speaker"] for number in numbers) == ["little", "little", "much", "much"]


def test_languages_that_nobody_hears_are_told_before_anything_is_spoken() -> None:
    lines = [{"text": "a", "language": language} for language in ("en", "zh-CN", None)]
    manifest = parse(EvalManifest, {**SPEECH, "speech": {"lines": lines}, "metrics": ["wer", "stops"]}, where="m.yaml")
    assert list(run.unheard(manifest)) == [
        "warning: wer needs the language of what is spoken; it will have no score",
        "warning: wer has no route for zh; it will have no score",
    ]


def test_manifest_mistakes_are_all_told() -> None:
    with pytest.raises(ManifestError) as told:
        parse(EvalManifest, {"name": "x", "metrics": ["mel", "stoii"], "seeed": 1}, where="m.yaml")
    assert "metrics.1: no 'stoii' in pipelines/evaluation/metrics" in str(told.value)
    assert "seeed: no such key; did you mean 'seed'?" in str(told.value)
    with pytest.raises(ManifestError, match="one of the two"):
        parse(EvalManifest, {"name": "x", "metrics": ["mel"]}, where="m.yaml")


def test_identity_knows_the_list_but_not_the_purpose(tmp_path: Path) -> None:
    listing = tmp_path / "meta.lst"
    listing.write_text("a|b|c|d\n")
    data = {**SPEECH, "speech": {"list_file": str(listing)}}
    one = run.identity(parse(EvalManifest, dict(data), where="m"))
    assert one == run.identity(parse(EvalManifest, {**data, "purpose": "for people"}, where="m"))
    listing.write_text("a|b|c|e\n")
    assert one != run.identity(parse(EvalManifest, dict(data), where="m"))


def test_identity_knows_the_weights_and_not_where_they_lie(tmp_path: Path) -> None:
    def known(path: Path) -> Any:
        metrics = [{"name": "utmos", "checkpoint": str(path)}]
        return run.identity(parse(EvalManifest, {**RECONSTRUCTION, "metrics": metrics}, where="m"))

    (tmp_path / "a").write_bytes(b"weights")
    (tmp_path / "b").write_bytes(b"weights")
    (tmp_path / "c").write_bytes(b"others")
    assert known(tmp_path / "a") == known(tmp_path / "b") != known(tmp_path / "c")


def test_waves_that_a_full_disk_does_not_take_are_named(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "a.wav").symlink_to("/dev/full")
    made = Utterance(key="a", wave_S=np.zeros(100_000, np.float32), rate_hz=48000)
    with pytest.raises(OSError, match="No space left") as told:
        run.write_waves({"bundle": [made]}, tmp_path)
    assert told.value.filename == str(tmp_path / "bundle" / "a.wav")
