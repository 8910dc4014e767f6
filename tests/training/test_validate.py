"""Validation: the same samples and noise every time, on any number of workers, by corpus and by language."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from speech import build_corpus
from toy_stage import TOY_STAGE

from infra.journal import read_from
from infra.manifest import parse
from training import validate
from training.data.batching import Pick
from training.data.holdout import hashes_of, lowest
from training.errand import Errand
from training.loop import Worker
from training.manifest import StageManifest
from training.report import draw
from training.steplog import GROUPS, StepLog
from training.validate import Held
from training.world import World

TOY: dict[str, Any] = {
    **TOY_STAGE,
    "data": {"seconds_per_step": 6, "held_out": 0.5, "mixture": [{"role": "one"}, {"role": "two", "weight": 2.0}]},
    "try_heaviest": False,
    "steps": 4,
    "validate_every": 2,
}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two corpora of one name, told apart by their role in a manifest and by their digest in a report."""
    place = tmp_path_factory.mktemp("corpora")
    built = {role: build_corpus(place / role, samples=n, longest=6) for role, n in (("one", 20), ("two", 12))}
    card = built["two"] / "corpus.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"name": "other"}))
    return {role: str(root) for role, root in built.items()}


@pytest.fixture
def worker(corpora: dict[str, str], tmp_path: Path, toys: None) -> Worker:
    (tmp_path / "attempt").write_text("a")
    manifest = parse(StageManifest, TOY, where="test")
    return Worker(Errand(manifest, corpora, None, str(tmp_path), str(tmp_path / "out"), "a"), World(), print)


def found(worker: Worker) -> Held:
    held = validate.losses(worker)
    assert held is not None
    return held


def test_losses_are_told_by_corpus_and_by_language_and_add_up(worker: Worker) -> None:
    held = found(worker)
    assert set(held.by_corpus) == {"mini", "other"}
    assert set(held.by_language) == {"en", "zh"}
    for groups in (held.by_corpus, held.by_language):
        for terms in groups.values():
            assert terms["loss"] == pytest.approx(terms["toy/guess"] + 0.5 * terms["toy/length"])
        assert min(terms["toy/guess"] for terms in groups.values()) < held.terms["toy/guess"]
        assert max(terms["toy/guess"] for terms in groups.values()) > held.terms["toy/guess"]
    only = [
        replace(source, held_out=source.held_out[:0], languages=source.languages[:0]) for source in worker.plan.sources
    ]
    worker.plan = replace(worker.plan, sources=[worker.plan.sources[0], only[1]])
    alone = found(worker)
    assert alone.terms == pytest.approx({k: v for k, v in held.by_corpus["mini"].items() if k != "loss"})
    assert found(worker) == alone


def test_any_number_of_workers_finds_the_same(worker: Worker) -> None:
    whole = found(worker)
    for size in (2, 3, 16):
        parts: list[list[torch.Tensor]] = []
        for rank in range(size):
            mine: list[torch.Tensor] = []

            class Listening(World):
                def sum(self, tensor: torch.Tensor, mine: list[torch.Tensor] = mine) -> torch.Tensor:
                    mine.append(tensor.clone())
                    return tensor

            worker.world = Listening(rank, size)
            found(worker)
            parts.append(mine)
        summed = iter([torch.stack(of_ranks).sum(0) for of_ranks in zip(*parts, strict=True)])

        class Summed(World):
            def sum(self, tensor: torch.Tensor, summed: Any = summed) -> torch.Tensor:
                return next(summed)  # type: ignore[no-any-return]

        worker.world = Summed(0, size)
        again = found(worker)
        assert again.terms == pytest.approx(dict(whole.terms), rel=1e-6)
        for name, terms in whole.by_language.items():
            assert again.by_language[name] == pytest.approx(dict(terms), rel=1e-6)


def test_of_many_held_out_samples_every_group_gives_as_much(worker: Worker) -> None:
    plan = worker.plan
    whole = validate.held_out(plan, seconds=1e9)
    assert sum(len(group.picks) for group in whole) == sum(len(source.held_out) for source in plan.sources)
    few = validate.held_out(plan, seconds=8.0)
    assert {(group.corpus, group.language) for group in few} == {(group.corpus, group.language) for group in whole}
    assert few == validate.held_out(plan, seconds=8.0)
    seconds = sum(plan.lengths(pick) for group in few for pick in group.picks) * 0.16
    assert 8.0 <= seconds < 8.0 + 2.0
    assert {pick for group in few for pick in group.picks} < {pick for group in whole for pick in group.picks}
    for group in whole:
        shares = validate.cut(plan, group.picks, seconds=2.0)
        assert sorted(pick for share in shares for pick in share.picks) == sorted(group.picks)
        assert max(sum(map(plan.lengths, share.picks)) * 0.16 for share in shares) < 4.0


def test_what_is_trained_on_is_not_validated_on(worker: Worker) -> None:
    held = {pick for group in validate.held_out(worker.plan, seconds=1e9) for pick in group.picks}
    trained = {pick for step in range(2 * worker.plan.steps_in_epoch) for pick in worker.plan.step(step)}
    assert not held & trained
    for part, source in enumerate(worker.plan.sources):
        recordings = [row["recording_sha256"] for row in source.corpus.rows]
        for number in np.flatnonzero(lowest(hashes_of(recordings), share=0.5)):
            assert Pick(part, int(number)) not in trained


def test_losses_of_groups_are_in_the_log_the_journal_and_the_picture(worker: Worker, tmp_path: Path) -> None:
    many = {f"corpus {n}": {"loss": float(n), "toy/guess": 1.0} for n in range(30)}
    held = Held({"toy/guess": 1.0}, many, {"en": {"loss": 2.0}})
    log = StepLog(tmp_path / "l.jsonl", journal=str(tmp_path / "journal"), first=0, every=1)
    log.validation(0, found(worker))
    log.validation(2, held)
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
    assert [len(line["by_corpus"]) for line in lines] == [2, 30]
    _, second = read_from(tmp_path / "journal" / "worker-0.jsonl", 0)[0]
    keys = [key for key in second["v"] if key.startswith("validation_corpus/")]
    assert keys == [f"validation_corpus/corpus {n}" for n in range(GROUPS)]
    assert second["v"]["validation_language/en"] == 2.0
    step = {"step": 1, "losses": {"toy/guess": 1.0}}
    sizes = []
    for name, shown in (("with", [step, *lines]), ("without", [step])):
        draw(shown, tmp_path / f"{name}.png", title="toy")
        sizes.append((tmp_path / f"{name}.png").stat().st_size)
    assert sizes[0] > sizes[1] + 5000


def test_what_a_stage_shows_names_its_file_where_the_disk_is_full(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "l.png").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as told:
        draw([{"step": 1, "losses": {"toy/guess": 1.0}}], tmp_path / "l.png", title="toy")
    assert told.value.filename == str(tmp_path / "l.png")
    log = StepLog(tmp_path / "l.jsonl", journal=None, first=0, every=1)
    log.file.close()
    log.file = Path("/dev/full").open("a", buffering=1)  # noqa: SIM115 - the log closes it
    with pytest.raises(OSError, match="No space left") as told:
        log.validation(0, found(worker))
    assert told.value.filename == str(tmp_path / "l.jsonl")
    with pytest.raises(OSError, match="No space left"):
        log.close()
