"""What a worker that cannot go on, or whose attempt is over, says and leaves alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_stage import TOY_STAGE

from infra.workflow.node import Job
from training.data.stream import DataError
from training.ends import HALTED, STOPPED, work
from training.errand import Superseded
from training.launch import errand_of
from training.loop import Halted, Worker
from training.manifest import StageManifest
from training.world import World

pytestmark = pytest.mark.usefixtures("toys")
MANIFEST: dict[str, Any] = {
    **TOY_STAGE,
    "data": {"seconds_per_step": 12, "held_out": 0.1},
    "steps": 20,
    "save_every": 9,
    "validate_every": 10,
}


@pytest.mark.system
def test_what_stops_one_worker_alone_is_told_and_does_not_leave_the_others_waiting(
    ranks: Callable[..., list[Any]], corpus: Path, tmp_path: Path
) -> None:
    manifest = {**MANIFEST, "launcher": "ray", "workers": 2, "try_heaviest": False, "validation_batches": 0}
    waited, stopped = ranks("stop_alone", world=2, corpus=corpus, folder=tmp_path, manifest=manifest, where=1)
    assert stopped == "Stopped"
    assert waited != "returned"
    assert json.loads((tmp_path / STOPPED).read_text()) == {"sentence": "shard 7 is torn"}


def test_workers_that_are_started_again_after_a_sentence_do_nothing(job: Callable[..., Job]) -> None:
    toy = job(MANIFEST)
    assert isinstance(toy.manifest, StageManifest)
    errand = errand_of(toy, toy.manifest)
    (toy.work / STOPPED).write_text("{}")
    work(errand, World(), print)
    assert not (toy.work / "losses.jsonl").exists()


def test_a_worker_of_an_earlier_attempt_cannot_write(job: Callable[..., Job]) -> None:
    toy = job(MANIFEST)
    assert isinstance(toy.manifest, StageManifest)
    errand = errand_of(toy, toy.manifest)
    (toy.work / "attempt").write_text(errand.token)
    worker = Worker(errand, World(), print)
    (toy.work / "attempt").write_text("a newer one")
    with pytest.raises(Superseded):
        worker.save(1)
    assert not list((toy.work / "checkpoints").glob("*/done-0.json"))
    with pytest.raises(Superseded):
        worker.write_bundle()
    assert not (toy.out / "bundle").exists()


@pytest.mark.parametrize(("end", "word"), [(Halted("stopped"), HALTED), (DataError("a shard is torn"), STOPPED)])
def test_a_worker_of_an_earlier_attempt_does_not_end_a_later_one(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, end: Exception, word: str
) -> None:
    toy = job(MANIFEST)
    assert isinstance(toy.manifest, StageManifest)
    errand = errand_of(toy, toy.manifest)

    class Ends:  # while another attempt begins
        def __init__(self, *words: object) -> None:
            (toy.work / "attempt").write_text("a newer one")

        def train(self) -> None:
            raise end

    monkeypatch.setattr("training.ends.Worker", Ends)
    with pytest.raises(Superseded):
        work(errand, World(), print)
    assert not (toy.work / word).exists()
