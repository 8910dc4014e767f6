"""From a model to the very samples that it has heard, and from a recording to the models that have."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_stage import TOY_STAGE

from infra import cli
from infra.journal import About, JournalRun
from infra.manifest import ManifestError, parse
from infra.storage import read_json
from infra.workflow.node import Job, Made, Refused
from infra.workflow.store import Store
from pipelines.policy.tombstones import FILE, Tombstone, append
from pipelines.shards import card_digest, open_corpus
from training import checkpoint as checkpoints
from training.export import export
from training.launch import run
from training.loop import Worker
from training.manifest import StageManifest
from training.replay import replay

pytestmark = pytest.mark.usefixtures("toys")

TOY: dict[str, Any] = {
    **TOY_STAGE,
    "data": {"seconds_per_step": 8, "held_out": 0.2},
    "try_heaviest": False,
    "steps": 8,
    "save_every": 3,
}


class Home:
    """A store with a copy of the corpus, in which toy stages are trained by the real kind."""

    def __init__(self, folder: Path, corpus: Path) -> None:
        self.store = Store(folder / "store")
        self.corpus = folder / "corpus"
        shutil.copytree(corpus, self.corpus)
        self.rows = list(open_corpus(self.corpus).rows)

    def job(self, name: str, *, start_from: Made | None = None) -> tuple[Any, Job]:
        """The job of a stage, and its slot."""
        slot = self.store.slot(name, name.ljust(64, "0"))
        for place in (slot.out, slot.work):
            place.mkdir(parents=True, exist_ok=True)
        manifest = parse(StageManifest, TOY | ({"model": None} if start_from else {}), where="test")
        data = Made("corpus", "mini", self.corpus, card_digest(self.corpus), "", "r" * 32)
        inputs = {"data": data} | ({"start_from": start_from} if start_from else {})
        told = JournalRun(slot.journal, About(name.ljust(32, "0"), name, "test", "train"))
        return slot, Job(name, manifest, inputs, slot.out, slot.work, told, lambda: None, 1, lambda line: None)

    def train(self, name: str, *, start_from: Made | None = None) -> Made:
        """A stage, committed as the workflow does it."""
        slot, job = self.job(name, start_from=start_from)
        outcome = run(job)
        slot.set_state(node=name, run=job.run.id, status="running", started=time.time())
        facts = {"name": name, "kind": "train", "run": job.run.id, "fingerprint": name.ljust(64, "0")}
        facts["inputs"] = {
            role: {key: getattr(made, key) for key in ("name", "kind", "digest", "run")} | {"out": str(made.out)}
            for role, made in job.inputs.items()
        }
        return slot.commit(outcome, {**facts, "seconds": 1.0, "manifest_path": "toy.yaml"})  # type: ignore[no-any-return]

    def bury(self, key: str) -> None:
        """Take a sample down."""
        stone = Tombstone(field="key", values=(key,), corpus=None, why="asked", who="me", when="2026-01-01T00:00:00Z")
        append(self.corpus / FILE, [stone])


@pytest.fixture
def home(tmp_path: Path, corpus: Path) -> Home:
    return Home(tmp_path, corpus)


@pytest.fixture
def lineage(home: Home, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """The lines that `stipple lineage ...` prints, or the sentence of its refusal."""

    def ask(action: str, *words: str, refused: bool = False) -> list[str]:
        capsys.readouterr()
        code = cli.main(["lineage", action, *words, "--store", str(home.store.root)])
        told = capsys.readouterr()
        assert code == (1 if refused else 0), told.err
        return (told.err if refused else told.out).splitlines()

    return ask


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """What the loop really trains on: (step, key), steps counted from 1."""
    really: list[tuple[int, str]] = []
    inner = Worker.step

    def step(worker: Worker, number: int, micros: Any) -> Any:
        really.extend((number + 1, key) for micro in micros for key in micro.draw.keys)
        return inner(worker, number, micros)

    monkeypatch.setattr(Worker, "step", step)
    return really


def told_samples(lines: list[str]) -> list[tuple[int, str]]:
    return sorted((int(step), key) for _, step, _, key, _ in (line.split("\t") for line in lines))


def test_a_bundle_knows_the_very_samples_that_it_heard(
    home: Home, lineage: Callable[..., list[str]], heard: list[tuple[int, str]]
) -> None:
    made = home.train("first")
    assert told_samples(lineage("samples", str(made.out / "bundle"), "--keys")) == sorted(heard)
    head, counts = lineage("samples", "first")
    assert head == f"first@{made.digest[:8]}  8 steps"
    different = len({key for _, key in heard})
    assert f"{different} of " in counts
    assert f" samples, {len(heard)} times" in counts


def test_a_recording_knows_who_heard_it_at_which_steps_and_who_comes_from_them(
    home: Home, lineage: Callable[..., list[str]], heard: list[tuple[int, str]]
) -> None:
    first = home.train("first")
    often = Counter(key for _, key in heard)
    key, times = often.most_common(1)[0]
    steps = [str(step) for step, one in heard if one == key]
    row = next(row for row in home.rows if row["key"] == key)
    for word in (key, row["recording"], row["recording_sha256"]):
        lines = lineage("heard", word, "--keys")
        assert lines[0].startswith(f"first@{first.digest[:8]}")
        assert lines[1].startswith(f"  {key} of {row['recording']}, mini@")
        assert lines[1].endswith(f"heard {times} times: {', '.join(steps)}")
    home.train("second", start_from=first)
    lines = lineage("heard", key)
    assert sum(line.startswith("second@") for line in lines) == 1
    assert lines[-1] == f"  through first@{first.digest[:8]}"
    held = [row["key"] for row in home.rows if row["key"] not in often and row["text"]]
    assert any("held out" in line for key in held for line in asked(lineage, key))
    assert "no model in" in lineage("heard", "z" * 26, refused=True)[0]


def asked(lineage: Callable[..., list[str]], key: str) -> list[str]:
    try:
        return lineage("heard", key)
    except AssertionError:
        return []


def test_a_takedown_between_two_starts_changes_what_is_heard_from_there_on(
    home: Home, lineage: Callable[..., list[str]], heard: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        inner = Worker.step

        def step(worker: Worker, number: int, micros: Any) -> Any:
            if number == 4:
                raise InterruptedError
            return inner(worker, number, micros)

        patch.setattr(Worker, "step", step)
        with pytest.raises(InterruptedError):
            run(home.job("first")[1])
    saved = checkpoints.newest(home.job("first")[0].work / "checkpoints")
    assert saved is not None
    before = [(step, key) for step, key in heard if step <= saved.step]
    heard.clear()
    gone = before[0][1]
    home.bury(gone)
    made = home.train("first")
    assert gone not in {key for _, key in heard}
    card = read_json(made.out / "heard" / "heard.json")
    assert card is not None
    assert [start["first"] for start in card["starts"]] == [0, saved.step]
    assert told_samples(lineage("samples", "first", "--keys")) == sorted(before + heard)
    assert f"heard {sum(key == gone for _, key in before)} times" in lineage("heard", gone)[1]


def test_who_heard_a_sample_is_known_after_its_corpus_is_gone(
    home: Home, lineage: Callable[..., list[str]], heard: list[tuple[int, str]]
) -> None:
    home.train("first")
    step, key = heard[0]
    shutil.rmtree(home.corpus)
    shutil.rmtree(home.store.slot("first", "first".ljust(64, "0")).work)
    line = lineage("heard", key, "--keys")[1]
    assert line.startswith(f"  {key}, mini@")
    assert str(step) in line.rpartition(": ")[2].split(", ")
    assert len(lineage("samples", "first")) == 2
    assert "cannot be read any more" in lineage("samples", "first", "--keys", refused=True)[0]
    (line,) = lineage("heard", "3.wav")
    assert "cannot be told: mini@" in line
    assert line.endswith("cannot be read any more; no key that it heard is '3.wav'")


def test_a_store_that_was_moved_tells_the_same(
    home: Home, lineage: Callable[..., list[str]], heard: list[tuple[int, str]], tmp_path: Path
) -> None:
    (home.store.root / "data" / "0123456789abcdef").mkdir(parents=True)
    home.corpus = home.corpus.rename(home.store.root / "data" / "0123456789abcdef" / "out")
    made = home.train("first")
    before = lineage("heard", heard[0][1], "--keys"), lineage("samples", "first", "--keys")
    home.store.root.rename(tmp_path / "moved")
    home.store = Store(tmp_path / "moved")
    assert (lineage("heard", heard[0][1], "--keys"), lineage("samples", "first", "--keys")) == before
    stage = home.store.root / "first" / made.out.parent.name
    assert replay(stage, first=7, last=8, say=lambda line: None) is None
    shutil.rmtree(stage / "out")
    assert export(stage, to=tmp_path / "exported").is_dir()
    shutil.rmtree(home.store.root / "data")
    with pytest.raises(Refused, match="the corpus that this stage hears as 'data' is not there any more"):
        export(stage, to=tmp_path / "again")


def test_a_stage_whose_manifest_this_code_does_not_read_is_told_in_a_sentence_and_stops_no_other(
    home: Home, lineage: Callable[..., list[str]], heard: list[tuple[int, str]]
) -> None:
    made = home.train("first")
    home.train("second")
    for card in (made.out / "heard" / "heard.json", made.out.parent / "work" / "errand.json"):
        if card.exists():
            told = json.loads(card.read_text())
            told["manifest"] |= {"a_key_of_yesterday": 1}
            card.write_text(json.dumps(told))
    assert "a_key_of_yesterday: no such key" in lineage("samples", "first", refused=True)[0]
    told = lineage("heard", heard[0][1])
    assert told[0].startswith("second@")
    assert "cannot be told: " in told[-1]
    with pytest.raises(ManifestError, match="a_key_of_yesterday: no such key"):
        replay(made.out.parent, first=7, last=8, say=lambda line: None)


def test_a_stage_that_was_trained_in_another_order_of_samples_is_told_nothing_false_of(
    home: Home, lineage: Callable[..., list[str]], heard: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    home.train("first")
    monkeypatch.setattr("training.heard.PLAN", 2)
    assert "order 1 of the samples, and this code has order 2" in lineage("samples", "first", refused=True)[0]
    (line,) = lineage("heard", heard[0][1])
    assert "cannot be told: " in line


def test_a_stage_that_kept_nothing_is_a_sentence(home: Home, lineage: Callable[..., list[str]]) -> None:
    made = home.train("first")
    shutil.rmtree(made.out / "heard")
    for path in made.out.parent.glob("work/heard.json"):
        path.unlink()
    assert "train it again" in lineage("samples", "first", refused=True)[0]
    assert "cannot be told: " in lineage("heard", "somebody")[0]
    assert json.loads((made.out.parent / "COMMIT.json").read_text())["name"] == "first"
