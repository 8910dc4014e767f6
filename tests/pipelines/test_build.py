"""Building with Ray: the same bytes for any number of workers, nothing done twice, nothing lost, poison contained."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from infra.cluster import Cluster, ClusterManifest
from infra.journal import About, JournalRun, new_id
from infra.manifest import parse
from infra.workflow.node import Job, Made, Outcome, Refused
from models.frozen.espeak import Espeak, Utterance
from pipelines import build, workers
from pipelines.catalog import write_catalog
from pipelines.clip import Decoded, Unusable
from pipelines.ledger import read_ledger
from pipelines.manifest import CorpusManifest
from pipelines.packing.verify import verify
from pipelines.readers import folder
from pipelines.row import Recording
from pipelines.shards import open_corpus

pytestmark = pytest.mark.system

TOY: dict[str, Any] = {
    "name": "toy",
    "language": "en",
    "license": "CC0",
    "transforms": ["probe", "segment", "language", {"name": "transcribe", "routes": {}}, "loudness", "bandwidth"],
    "keep": ["duration", "has_text"],
    "tiers": {"wide": [{"name": "bandwidth", "min": 7500}], "rest": []},
    "shards": {"soft_mb": 0.15},
    "units": {"max_mb": 0.3},
    "errors": {"max_failed_share": 0.5},
}
SENTENCES = (
    "The morning train was late again.", "Nobody had told her about the letter.", "We walked home along the river.",
    "Seven boats lay in the harbor.", "He could not remember the melody.", "Please close the window before it rains.",
)  # fmt: skip


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech with text, one file twice, one again without text, silence, noise, and four kinds of damage."""
    root = tmp_path_factory.mktemp("recordings")
    voices = Espeak()([Utterance(text=text, voice="en") for text in SENTENCES])
    for number, (wave_S, text) in enumerate(zip(voices, SENTENCES, strict=True)):
        soundfile.write(root / f"speech{number}.wav", wave_S, Espeak.RATE_HZ)
        (root / f"speech{number}.txt").write_text(text)
    (root / "twice.wav").write_bytes((root / "speech0.wav").read_bytes())
    (root / "twice.txt").write_text(SENTENCES[0])
    (root / "bare.wav").write_bytes((root / "speech3.wav").read_bytes())
    soundfile.write(root / "untold.flac", np.concatenate([voices[1], np.zeros(30000, np.float32), voices[2]]), 22050)
    soundfile.write(root / "silence.wav", np.zeros(16000), 16000)
    soundfile.write(root / "noise.flac", np.random.default_rng(0).normal(0, 0.1, 32000), 16000)
    soundfile.write(root / "nan.wav", np.full(16000, np.nan, np.float32), 16000, subtype="FLOAT")
    soundfile.write(root / "cut.mp3", np.tile(voices[3], 3), 22050)
    (root / "cut.mp3").write_bytes((root / "cut.mp3").read_bytes()[:9000])
    (root / "empty.wav").write_bytes(b"")
    (root / "corrupt.flac").write_bytes(b"fLaC" + bytes(range(256)) * 20)
    return root


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(ClusterManifest(cpus=2, object_store_mb=100)) as started:
        yield started


class Bench:
    """A place to build in, as the workflow would."""

    def __init__(self, root: Path, recordings: Path, cluster: Cluster) -> None:
        self.root, self.cluster = root, cluster
        self.reader = {"name": "jsonl", "roots": [str(recordings)]}
        self.connected = 0
        self.lines: list[str] = []
        catalog = root / "catalog"
        catalog.mkdir(parents=True)
        found = folder.recordings(folder.Config(), recordings) if recordings.is_dir() else []
        write_catalog(catalog, found)
        self.made = Made("recordings", "recordings", catalog, "0" * 32, "0" * 32, "0" * 32)

    def connect(self) -> None:
        self.connected += 1
        self.cluster.connect()

    def build(self, out: str, *, work: str = "work", **facts: Any) -> Outcome:
        for name in (out, work):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        run = JournalRun(self.root / "journal", About(new_id(), "toy", "test", "corpus"))
        job = Job(
            name="toy",
            manifest=parse(CorpusManifest, {**TOY, "reader": self.reader, **facts}, where="toy"),
            inputs={"recordings": self.made},
            out=self.root / out,
            work=self.root / work,
            run=run,
            connect=self.connect,
            attempt=1,
            say=self.lines.append,
        )
        try:
            return build.run(job)
        finally:
            run.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, recordings: Path, cluster: Cluster) -> tuple[Bench, Outcome]:
    bench = Bench(tmp_path_factory.mktemp("bench"), recordings, cluster)
    return bench, bench.build("one", work="work-one", workers=1)


def files(root: Path) -> dict[str, bytes]:
    """What a corpus is, byte for byte; the audit page and the ledger tell of the build, too."""
    kept = [*(root / "shards").rglob("*.tar*"), *(root / "index").glob("*"), root / "corpus.json"]
    return {path.name: path.read_bytes() for path in kept}


def test_same_input_gives_the_same_bytes_for_one_two_and_four_workers(
    built: tuple[Bench, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, one = built
    monkeypatch.setattr(workers, "AT_ONCE", 8)  # so that there is a second pool after the first
    for name, count in (("two", 2), ("four", 4)):
        share = {"cpus": 2 / count}
        more = bench.build(name, work=f"work-{name}", workers=count, worker=share, units={"max_mb": 0.1})
        assert more.digest == one.digest
        assert files(bench.root / name) == files(bench.root / "one")
    assert len(files(bench.root / "one")) >= 4, "more than one shard"
    assert verify(bench.root / "one") == []


def test_every_bad_file_is_a_row_with_its_reason_and_the_rest_goes_on(built: tuple[Bench, Outcome]) -> None:
    bench, outcome = built
    fates: dict[str, set[tuple[str, str]]] = {}
    for row in read_ledger(bench.root / "one"):
        name = (row["reason"] or "").split(":")[0]
        fates.setdefault(row["recording"], set()).add((row["status"], name))
    assert fates["empty.wav"] == {("failed", "empty")}
    assert fates["corrupt.flac"] == {("failed", "decode")}
    assert fates["nan.wav"] == {("failed", "not_finite")}
    assert fates["cut.mp3"] == {("failed", "truncated")}
    assert fates["silence.wav"] == {("dropped", "silence")}
    assert fates["noise.flac"] == {("dropped", "no_speech")}
    assert ("dropped", "duplicate") in fates["twice.wav"]
    assert ("dropped", "duplicate") in fates["bare.wav"], "it comes first, but without the transcript"
    assert ("dropped", "has_text") in fates["untold.flac"]
    assert ("kept", "") in fates["speech0.wav"]
    assert outcome.summary["recordings_failed"] == 4
    corpus = open_corpus(bench.root / "one")
    assert sorted(str(row["text"]) for row in corpus.rows) == sorted(SENTENCES)
    assert {row["license"] for row in corpus.rows} == {"CC0"}
    assert {row["tier"] for row in corpus.rows} <= {"wide", "rest"}


def test_audit_page_shows_what_was_kept_and_what_was_not(built: tuple[Bench, Outcome]) -> None:
    bench, _ = built
    page = (bench.root / "one" / "audit.html").read_text()
    assert SENTENCES[0] in page
    assert "corrupt.flac" in page
    assert 'src="http' not in page
    clips = list((bench.root / "one" / "clips").glob("*.flac"))
    assert len(clips) == 6
    assert all(soundfile.info(clip).duration > 0.5 for clip in clips)


def test_hours_are_conserved(built: tuple[Bench, Outcome]) -> None:
    bench, _ = built
    hours = json.loads((bench.root / "one" / "funnel.json").read_text())["hours"]
    assert hours["in"] == pytest.approx(hours["kept"] + hours["dropped"] + hours["failed"], abs=1e-9)
    assert hours["kept"] > 0.5 * hours["in"] / 2
    assert any(line.startswith("hours in") for line in bench.lines)


def test_resumed_job_runs_no_unit_and_does_not_start_ray(built: tuple[Bench, Outcome]) -> None:
    bench, outcome = built
    before = bench.connected
    again = bench.build("again", work="work-one", workers=1)
    assert (again.digest, bench.connected) == (outcome.digest, before)
    assert any("all annotated before" in line for line in bench.lines)


def test_policy_changes_without_running_a_model(built: tuple[Bench, Outcome]) -> None:
    bench, outcome = built
    before = bench.connected
    strict = bench.build("strict", work="work-one", keep=["has_text", {"name": "duration", "max": 2.0}])
    assert bench.connected == before
    assert 0 < strict.summary["samples"] < outcome.summary["samples"]


def test_corrected_license_and_source_run_no_model_and_give_what_a_fresh_build_gives(
    built: tuple[Bench, Outcome],
) -> None:
    bench, _ = built
    before, right = bench.connected, {"license": "CC-BY-4.0", "source": "https://example.org/kit"}
    corrected = bench.build("corrected", work="work-one", **right)
    assert bench.connected == before
    rows = [*open_corpus(bench.root / "corrected").rows, *read_ledger(bench.root / "corrected")]
    assert {(row["license"], row["source"]) for row in rows} == {tuple(right.values())}
    assert bench.build("anew", work="work-anew", **right).digest == corrected.digest
    assert files(bench.root / "anew") == files(bench.root / "corrected")


def test_another_version_in_the_store_takes_over_what_the_same_chain_has_scored(built: tuple[Bench, Outcome]) -> None:
    bench, outcome = built
    shutil.copytree(bench.root / "work-one", bench.root / "store" / "first" / "work")
    before = bench.connected
    strict = bench.build("store/next/out", work="store/next/work", workers=1, keep=["has_text"], tiers={})
    assert bench.connected == before
    assert strict.summary["samples"] == outcome.summary["samples"]
    assert any("units taken over" in line for line in bench.lines)


def test_unit_that_was_lost_is_done_again_to_the_same_bytes(built: tuple[Bench, Outcome]) -> None:
    bench, outcome = built
    lost = sorted((bench.root / "work-two" / "units").glob("*.jsonl"))[0]
    lost.unlink()
    stopped = bench.root / "work-two" / "attempts" / lost.name.removesuffix(".jsonl")
    stopped.parent.mkdir(exist_ok=True)
    stopped.write_text("unit\nbegin 0\nbegin 0\n")  # twice, a person stopped the job while it worked on recording 0
    again = bench.build("mended", work="work-two", workers=2, units={"max_mb": 0.1})
    assert again.digest == outcome.digest
    assert any("1 units to annotate" in line for line in bench.lines)
    assert not any("no earlier result" in line for line in bench.lines), "none of these follows another version"


def test_nothing_kept_and_too_many_failures_are_sentences(built: tuple[Bench, Outcome]) -> None:
    bench, _ = built
    with pytest.raises(Refused, match=r"nothing is left of 15 recordings and \d+ segments, most often because of"):
        bench.build("none", work="work-one", keep=[{"name": "duration", "min": 29}])
    with pytest.raises(Refused, match=r"4 of 15 recordings failed, more than errors\.max_failed_share = 10\.0%"):
        bench.build("budget", work="work-one", errors={"max_failed_share": 0.1})


def test_empty_catalog_is_a_sentence(tmp_path: Path, cluster: Cluster) -> None:
    with pytest.raises(Refused, match="the catalog has no recordings"):
        Bench(tmp_path, tmp_path / "nowhere", cluster).build("out")


class Deadly(workers.UnitWorker):
    """A worker that a certain recording kills, as a broken codec would."""

    def __init__(self, manifest: CorpusManifest, work: Path, home: str | None) -> None:
        super().__init__(manifest, work, home)
        decode = self.chain.probe

        def probe(recordings: Sequence[Recording]) -> list[Decoded | Unusable]:
            if recordings[0].name == "speech3.wav":
                os.kill(os.getpid(), signal.SIGKILL)
            found: list[Decoded | Unusable] = decode(recordings)
            return found

        self.chain.probe = probe


def test_recording_that_kills_workers_costs_only_itself(
    built: tuple[Bench, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import cloudpickle

    bench, outcome = built
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(workers, "UnitWorker", Deadly)
    survived = bench.build("poison", work="work-poison", workers=2)
    assert survived.summary["samples"] == outcome.summary["samples"] - 1
    crashed = [row for row in read_ledger(bench.root / "poison") if (row["reason"] or "").startswith("crash")]
    assert [row["recording"] for row in crashed] == ["speech3.wav"]
