"""A corpus that is rebuilt in its place: no stage ever hears samples of both."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import speech
from speech import build_corpus
from toy_stage import TOY_STAGE

from infra.manifest import parse
from infra.workflow.node import Refused
from pipelines.policy.tombstones import FILE, Tombstone, append
from pipelines.shards import CorpusError, card_digest
from training import heard
from training.data.holdout import hashes_of
from training.data.stream import open_sources
from training.errand import ERRAND, Errand
from training.heard import stretches
from training.lineage import names_of
from training.loop import Worker
from training.manifest import Data, StageManifest
from training.objectives import StepReport
from training.steplog import read_log
from training.world import World

pytestmark = pytest.mark.usefixtures("toys")
TOY: dict[str, Any] = {
    **TOY_STAGE,
    "data": {"seconds_per_step": 6, "held_out": 0.1},
    "try_heaviest": False,
    "steps": 12,
    "save_every": 3,
}


@pytest.fixture(scope="module")
def louder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of the other tests from other clips."""
    clip = speech.clip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speech, "clip", lambda number, **lengths: clip(number + 100, **lengths))
        return build_corpus(tmp_path_factory.mktemp("corpora") / "louder")


@pytest.fixture
def live(corpus: Path, tmp_path: Path) -> Path:
    """A corpus that can be replaced."""
    return Path(shutil.copytree(corpus, tmp_path / "live"))


def errand(live: Path, tmp_path: Path) -> Errand:
    (tmp_path / "work").mkdir(exist_ok=True)
    (tmp_path / "work" / "attempt").write_text("a")
    work, out = str(tmp_path / "work"), str(tmp_path / "out")
    digests = {"data": card_digest(live)}
    stage = parse(StageManifest, TOY, where="test")
    return Errand(stage, {"data": str(live)}, None, work, out, token="a", digests=digests)


def put(other: Path, live: Path) -> None:
    live.rename(live.with_name("before"))
    shutil.copytree(other, live)


def test_a_corpus_that_is_replaced_while_a_stage_trains_ends_it_before_any_of_it_is_heard(
    live: Path, louder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(errand(live, tmp_path), World(), print)
    step = worker.step

    def swapping(number: int, micros: Any) -> StepReport:
        if number == 4:
            put(louder, live)
        return step(number, micros)

    monkeypatch.setattr(worker, "step", swapping)
    with pytest.raises(
        CorpusError, match="another corpus put in its place, while a stage trained on it; bring it back"
    ):
        worker.train()
    steps = [line["step"] for line in read_log(tmp_path / "work" / "losses.jsonl") if "losses" in line]
    assert 5 <= steps[-1] <= 6  # of what was read ahead


def test_a_start_that_finds_another_corpus_than_it_was_planned_with_is_refused(
    live: Path, louder: Path, tmp_path: Path
) -> None:
    told = errand(live, tmp_path)
    stone = Tombstone(field="key", values=("none",), corpus=None, why="asked", who="me", when="2026-01-01T00:00:00Z")
    append(live / FILE, [stone])
    Worker(told, World(), print)  # what is taken down is no other corpus
    put(louder, live)
    with pytest.raises(CorpusError, match="another corpus, or selection, lies there than the one that this stage was"):
        Worker(told, World(), print)
    (tmp_path / "store" / "toy" / "fp" / "work").mkdir(parents=True)
    (tmp_path / "store" / "toy" / "fp" / "work" / ERRAND).write_text(json.dumps(told.to_dict()))
    with pytest.raises(Refused, match="another corpus, or selection, lies there"):
        Errand.of(tmp_path / "store" / "toy" / "fp" / "work")


def test_a_sample_is_the_one_that_its_index_named(tmp_path: Path) -> None:
    one = build_corpus(tmp_path / "one", samples=3)
    clip = speech.clip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speech, "clip", lambda number, **lengths: clip(number + 50, **lengths))
        other = build_corpus(tmp_path / "other", samples=3)
    (source,) = open_sources(Data(seconds_per_step=6, held_out=0), folders={"data": one}, needs_text=False)
    shutil.rmtree(one / "shards")
    shutil.copytree(other / "shards", one / "shards")
    with pytest.raises(CorpusError, match=r"sample 1 is [0-9a-f]{26}, and was another one when its index was read"):
        source.read(1)


def test_who_heard_what_is_not_told_by_the_keys_of_another_corpus(live: Path, louder: Path, tmp_path: Path) -> None:
    Worker(errand(live, tmp_path), World(), print).train()
    work = tmp_path / "work"
    (work / ERRAND).write_text(json.dumps(errand(live, tmp_path).to_dict()))
    card = json.loads((work / heard.CARD).read_text())
    (part,) = stretches(card, work / heard.FOUND, work=work)[0].parts
    assert len(names_of(part)) == 24
    put(louder, live)
    with pytest.raises(Refused, match="another corpus lies there than mini@"):
        names_of(part)


def test_a_source_knows_the_keys_of_what_it_uses(corpus: Path) -> None:
    (source,) = open_sources(Data(seconds_per_step=6, held_out=0.2), folders={"data": corpus}, needs_text=False)
    used = [int(number) for number in (*source.numbers, *source.held_out)]
    assert [source.hash_of(number) for number in used] == hashes_of([source.read(n).key for n in used]).tolist()
    fewer = replace(source, numbers=source.numbers[1:], hashes=source.hashes[1:])
    with pytest.raises(IndexError):
        fewer.hash_of(int(source.numbers[0]))
    assert np.array_equal([source.hash_of(int(n)) for n in source.held_out], source.held_hashes)
