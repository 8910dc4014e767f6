"""Admission: evaluation sets stay out unless asked for, and are counted; what is listed twice is worked on once."""

import argparse
import json
import random
import tracemalloc
from pathlib import Path

import pytest

from infra.check import check
from infra.manifest import ManifestError, names_in, parse
from infra.workflow.node import Refused
from pipelines.clip import Unusable
from pipelines.manifest import CorpusManifest
from pipelines.readers import jsonl
from pipelines.reading import admit
from pipelines.reading.admit import admitted
from pipelines.recordings import RecordingsManifest
from pipelines.row import Recording
from pipelines.transforms import probe
from pipelines.verbs import sources
from tests.pipelines.readers.material import put, sound, tar
from tests.pipelines.test_recordings import made

ROOT = Path(__file__).resolve().parents[3]
OPEN = sorted(path for path in (ROOT / "manifests" / "recordings").glob("*.yaml") if "how_to_get" in path.read_text())


def of(name: str, **facts: object) -> Recording:
    return Recording(uri=f"/x/{name}", name=name, bytes=1, **facts)  # type: ignore[arg-type]


def test_evaluation_sets_become_rows_with_their_hours(tmp_path: Path) -> None:
    put(tmp_path, {"a.wav": sound(seconds=2), "b.wav": sound(seconds=3)})
    found = [
        Recording(uri=str(tmp_path / "a.wav"), name="a.wav", bytes=1, split="test", evaluation=True),
        Recording(uri=str(tmp_path / "b.wav"), name="b.wav", bytes=0, split="train"),
        Recording(uri=str(tmp_path / "gone.wav"), name="c.wav", bytes=1, evaluation=True, seconds=7.5),
    ]
    results = probe.Transform(probe.Config())(list(admitted(found, allow_evaluation=False)))
    first, second, third = results
    assert isinstance(first, Unusable)
    assert first.reason.startswith("dropped:evaluation: split test is for measuring models; allow_evaluation")
    assert first.seconds == pytest.approx(2.0)
    assert not isinstance(second, Unusable)
    assert isinstance(third, Unusable)
    assert (third.seconds, third.reason.split(":")[1]) == (7.5, "evaluation")
    assert list(admitted(found, allow_evaluation=True)) == found


def test_what_is_listed_twice_is_worked_on_once() -> None:
    twice = [of("a"), of("b"), of("a"), of("a", start_seconds=1.0, end_seconds=2.0), of("a")]
    found = list(admitted(twice, allow_evaluation=False))
    assert [item.fault for item in found] == [None, None, "failed:duplicate: it is listed twice", None, found[2].fault]
    assert len({(item.name, item.start_seconds) for item in found}) == 5


def test_what_is_listed_twice_is_told_by_the_number_of_others_before_it_however_far_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admit, "BATCH", 16)
    numbers = random.Random(0).choices(range(300), k=1000)
    before, expected = dict[int, None](), list[str]()
    for number in numbers:
        expected.append(f"{number}#again{len(before)}" if number in before else str(number))
        before[number] = None
    assert [item.name for item in admitted(map(of, map(str, numbers)), allow_evaluation=True)] == expected


def test_who_was_met_takes_24_bytes_each_at_most_and_is_in_few_runs() -> None:
    met = admit.Met()
    tracemalloc.start()
    for start in range(0, 200_000, 1000):
        assert met.before([of(str(number)) for number in range(start, start + 1000)]) == [None] * 1000
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert met.hashes.count == 200_000
    assert sum(run.nbytes for run in met.hashes.runs) == 8 * met.hashes.count
    assert held < 9 * met.hashes.count
    assert most < 24 * met.hashes.count + 1_000_000
    assert len(met.hashes.runs) <= 8


def test_corpus_keeps_evaluation_sets_out_by_default() -> None:
    manifest = parse(CorpusManifest, {"name": "x", "transforms": ["probe", "segment"]}, where="x.yaml")
    assert manifest.allow_evaluation is False


def fleurs_in(folder: Path) -> None:
    row = "1\t{0}.wav\tHello.\thello\th e l l o |\t57600000\tMALE\n"
    for part in ("train", "test"):
        archive = tar({f"{part}/{part}.wav": sound(rate_hz=16000)}, packed=True)
        put(folder, {f"data/en_us/{part}.tsv": row.format(part), f"data/en_us/audio/{part}.tar.gz": archive})


def test_manifest_says_which_parts_are_trained_on(tmp_path: Path) -> None:
    fleurs_in(tmp_path / "fleurs")
    settings = {"folder": str(tmp_path / "fleurs"), "reader": "fleurs", "license": "CC-BY-4.0", "restored": True}
    for splits, kept_out in ((None, {"train", "test"}), ([], {"train", "test"}), (["train"], {"test"})):
        out = tmp_path / f"out{len(str(splits))}"
        outcome = made(parse(RecordingsManifest, {**settings, "splits_for_training": splits}, where="x"), out)
        found = list(jsonl.recordings(jsonl.Config(roots=[tmp_path]), out))
        assert {item.split for item in found if item.evaluation} == kept_out
        assert all(item.license == "CC-BY-4.0" and item.extra["restored"] for item in found)
        assert outcome.summary["evaluation"] == len(kept_out)
        assert outcome.summary["told_hours"] == 2.0


def test_catalog_holds_names_that_are_not_utf8_and_what_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    put(folder, {"x.tar": b"no tar" * 200})
    (folder / "caf\udce9.wav").write_bytes(sound())
    outcome = made(RecordingsManifest(folder=folder), tmp_path / "out")
    (item,) = jsonl.recordings(jsonl.Config(roots=[folder]), tmp_path / "out")
    assert (item.name, item.fault) == ("caf\\udce9.wav", None)
    assert not isinstance(probe.Transform(probe.Config()).decode(item), Unusable)
    settings = {"folder": str(folder), "reader": "webdataset"}
    outcome = made(parse(RecordingsManifest, settings, where="x"), tmp_path / "tars")
    (item,) = jsonl.recordings(jsonl.Config(roots=[folder]), tmp_path / "tars")
    assert (item.fault or "").startswith("failed:archive: not a tar")
    assert outcome.summary["faults"] == 1


@pytest.mark.parametrize("path", OPEN, ids=lambda path: path.stem)
def test_manifest_of_an_open_corpus_is_whole(path: Path, tmp_path: Path) -> None:
    manifest = check(path)
    assert isinstance(manifest, RecordingsManifest)
    assert manifest.reader.name in names_in("pipelines.readers")
    assert manifest.title
    assert manifest.source.startswith("https://")
    assert manifest.attribution
    assert manifest.terms is not None
    missing = manifest.model_copy(update={"folder": tmp_path / "none"})
    with pytest.raises(Refused, match="no such folder") as refusal:
        made(missing, tmp_path / "out")
    assert manifest.how_to_get in str(refusal.value)


def test_every_open_corpus_of_the_paper_has_a_manifest() -> None:
    names = {path.stem for path in OPEN}
    paper = "emilia emilia_yodas libritts_r hifi_tts hifi_tts_2 wenetspeech4tts aishell3 magicdata mls msr_86k"
    assert names >= {*paper.split(), "indicvoices_r", "eurospeech", "waxal_tts", "fleurs", "autoacd", "seed_tts_eval"}


def test_terms_that_are_not_those_of_the_license_are_a_mistake() -> None:
    with pytest.raises(ManifestError, match=r"CC-BY-NC-4.0 asks by, nc"):
        parse(RecordingsManifest, {"license": "CC-BY-NC-4.0", "terms": ["by"]}, where="x.yaml")


def listed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    sources.add_arguments(parser)
    return parser.parse_args(list(words))


def test_sources_are_listed_with_what_they_allow(capsys: pytest.CaptureFixture[str]) -> None:
    assert sources.main(listed()) == 0
    table = capsys.readouterr().out
    assert len(table.splitlines()) == len(OPEN) + 1
    assert sources.main(listed("--allow", "commercial", "--json")) == 0
    commercial = {fact["name"] for fact in json.loads(capsys.readouterr().out)}
    assert {"emilia_yodas", "libritts_r", "aishell3"} <= commercial
    assert not {"emilia", "magicdata", "msr_86k", "wenetspeech4tts", "eurospeech", "autoacd"} & commercial
    assert sources.main(listed("magicdata")) == 0
    assert "nd (no derivatives" in capsys.readouterr().out
    with pytest.raises(ManifestError, match="did you mean 'emilia'"):
        sources.main(listed("emilya"))
    with pytest.raises(ManifestError, match="did you mean 'commercial'"):
        sources.main(listed("--allow", "comercial"))
