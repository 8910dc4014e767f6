"""Whole evaluations of a small bundle on a small corpus: what they write, and that they tell the truth."""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow
import pytest
from pyarrow import parquet

from infra.journal import About, JournalRun, read_from
from infra.manifest import ManifestError, parse
from infra.objects import Folder
from infra.workflow.node import Job, Made, Outcome, Refused
from models.frozen import WeightsError
from models.runtime.bundle import save_bundle
from pipelines.evaluation import making, run
from pipelines.evaluation.manifest import Choice, EvalManifest
from pipelines.evaluation.metrics import Utterance
from pipelines.evaluation.overlap import Overlap, overlap
from pipelines.packing.layout import index_name
from pipelines.shards import Corpus, Rows
from tests.small import small_bundle
from tests.training.speech import build_corpus

RECONSTRUCTION: dict[str, Any] = {
    "name": "recon",
    "reconstruction": {"inputs": {"utterances": 2, "max_seconds": 3}},
    "metrics": ["mel"],
    "resamples": 100,
}
SPEECH: dict[str, Any] = {
    "name": "speech",
    "speech": {
        "prompts": {"utterances": 2, "max_seconds": 3},
        "lines": [{"text": "mama memo", "language": "en"}],
        "sampler": {"num_steps": 2, "max_seconds": 0.5, "stop_threshold": 1.0},
    },
    "metrics": ["stops", "speaker"],
    "resamples": 100,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_corpus(tmp_path_factory.mktemp("corpus") / "mini", samples=6, longest=6)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    save_bundle(small_bundle(), folder / "bundle")
    return folder


def evaluate(manifest: Mapping[str, Any], folder: Path, **inputs: Path) -> tuple[Outcome, dict[str, Any]]:
    """Run it as a workflow would; the outcome and scores.json."""
    kinds = {"bundle": "train", "data": "corpus"}
    made = {
        role: Made(kind=kinds[role], name=role, out=path, digest="d" * 64, fingerprint="f" * 64, run="r" * 32)
        for role, path in inputs.items()
    }
    (folder / "out").mkdir(parents=True)
    (folder / "work").mkdir(exist_ok=True)
    job = Job(
        name="eval",
        manifest=parse(EvalManifest, json.loads(json.dumps(manifest)), where="test"),
        inputs=made,
        out=folder / "out",
        work=folder / "work",
        run=JournalRun(folder / "journal", About("0" * 32, "eval", "test", "eval")),
        connect=lambda: pytest.fail("an evaluation does not need Ray"),
        attempt=1,
        say=lambda line: None,
    )
    outcome = run.run(job)
    return outcome, json.loads((folder / "out" / "scores.json").read_text())


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


def test_what_was_spoken_before_a_kill_is_not_spoken_again(
    corpus: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = evaluate(SPEECH, tmp_path / "whole", bundle=bundle, data=corpus)
    speak, asked = making.spoken, []

    def dies(*args: Any, **settings: Any) -> Utterance:
        asked.append(args[2].key)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return speak(*args, **settings)

    monkeypatch.setattr(making, "spoken", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate(SPEECH, tmp_path / "job", bundle=bundle, data=corpus)
    (tmp_path / "job" / "out").rmdir()
    again, scores = evaluate(SPEECH, tmp_path / "job", bundle=bundle, data=corpus)
    assert again.digest == whole.digest
    assert len(asked) == 3, "the first of two, the second that was killed, and the second again"
    assert asked[1] == asked[2]
    assert scores["timing"]["bundle"]["making_seconds"] > 0
    (spoiled,) = [path for path in (tmp_path / "job" / "work" / "spoken").glob("*.npz") if path.stat().st_size][:1]
    spoiled.write_bytes(spoiled.read_bytes()[:100])
    shutil.rmtree(tmp_path / "job" / "out")
    once_more, _ = evaluate(SPEECH, tmp_path / "job", bundle=bundle, data=corpus)
    assert once_more.digest == whole.digest
    assert len(asked) == 4, "half a file is spoken again"


def test_missing_weights_of_a_metric_are_told_before_anything_is_spoken(
    corpus: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "spoken", lambda *_, **__: pytest.fail("spoken for nothing"))
    manifest = {**SPEECH, "metrics": [{"name": "speaker", "backend": "wavlm_sv", "checkpoint": "gone.pth"}]}
    with pytest.raises(WeightsError, match=r"no WavLM speaker checkpoint at .*gone\.pth"):
        evaluate(manifest, tmp_path, bundle=bundle, data=corpus)


def test_missing_prompt_of_a_list_is_counted_not_skipped(corpus: Path, bundle: Path, tmp_path: Path) -> None:
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
    whole, made = making.reconstruct, []

    def spoiled(*args: Any) -> dict[str, Any]:
        found = whole(*args)
        found["wave_S"][3] = math.nan if not made else 0.0
        made.append(found)
        return found

    monkeypatch.setattr(making, "reconstruct", spoiled)
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
    chosen = [making.choose(opened, Choice(utterances=4), seed=seed) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    for numbers in chosen:
        assert sorted(rows[number]["speaker"] for number in numbers) == ["little", "little", "much", "much"]


def test_corpora_and_recordings_above_bundle_and_data_are_told(tmp_path: Path) -> None:
    def made(kind: str, name: str, **inputs: Made) -> Made:
        slot = tmp_path / "store" / name / "0123456789abcdef"
        (slot / "out").mkdir(parents=True)
        own = {"kind": kind, "name": name, "digest": name * 8, "run": f"{name}-run", "fingerprint": "f" * 64}
        known = {role: {"out": str(one.out), "run": one.run, "name": one.name, "kind": one.kind, "digest": one.digest}
                 for role, one in inputs.items()}  # fmt: skip
        for file in ("state.json", "COMMIT.json"):
            (slot / file).write_text(json.dumps({**own, "status": "committed", "inputs": known}))
        return Made(**own, out=slot / "out")

    sounds, others = made("recordings", "sounds"), made("recordings", "others")
    heard, again = (made("corpus", name, recordings=sounds) for name in ("heard", "again"))
    unheard = made("corpus", "unheard", recordings=others)
    student = made("train", "student", start_from=made("train", "teacher", data=heard), data=made("corpus", "more"))

    def told(data: Made, *, bundle: Made = student) -> Overlap:
        return overlap(cast(Job, SimpleNamespace(inputs={"bundle": bundle, "data": data})))

    assert told(heard) == Overlap(["corpus heard@heardhea", "recordings sounds@soundsso"], [])
    assert told(again) == Overlap(["recordings sounds@soundsso"], [])
    assert told(unheard) == Overlap([], [])
    copied = replace(heard, out=tmp_path / "copied", run="")
    whence = "heard@heardhea is not in the store, so that nothing says which recordings it is made of"
    assert told(copied) == Overlap(["corpus heard@heardhea"], [whence])
    released = Made(kind="train", name="r", out=tmp_path / "r", digest="released", fingerprint="f", run="")
    what = "r@released is not in the store, so that nothing says what it was trained on"
    assert told(heard, bundle=released) == Overlap([], [what])
    assert told(copied, bundle=released) == Overlap([], [what, whence])
    assert overlap(cast(Job, SimpleNamespace(inputs={"bundle": student}))).unseen


def test_card_of_a_bundle_from_elsewhere_tells_what_it_was_trained_on(tmp_path: Path) -> None:
    parents = {
        role: {"name": name, "digest": name * 9, "run": ""} for role, name in (("data", "c"), ("start_from", "t"))
    }
    (tmp_path / "b" / "bundle").mkdir(parents=True)
    (tmp_path / "b" / "bundle" / "stipple.json").write_text(json.dumps({"parents": parents}))
    bundle = Made(kind="train", name="b", out=tmp_path / "b", digest="b" * 9, fingerprint="f", run="")
    data = Made(kind="corpus", name="renamed", out=tmp_path / "c", digest="c" * 9, fingerprint="f", run="")
    found = overlap(cast(Job, SimpleNamespace(inputs={"bundle": bundle, "data": data})))
    assert found.found == ["corpus renamed@cccccccc"]
    assert found.unseen[1].startswith("t@tttttttt is not in the store")


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
