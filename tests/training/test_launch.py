"""A stage from manifest to bundle, in this process."""

import ast
import errno
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from toy_stage import TOY_STAGE

from infra.journal import read_from
from infra.manifest import ManifestError
from infra.mistakes import sentence_of
from infra.storage import ROOT
from infra.workflow.fingerprint import code_of
from infra.workflow.node import STOP, Job, Made, Refused
from models.runtime.bundle import load_bundle
from pipelines.shards import card_digest
from training.cli import corpora_of
from training.ends import Stopped
from training.launch import CODE, run
from training.loop import Worker
from training.manifest import MODELS
from training.report import missed
from training.steplog import StepLog, read_log

LISTENED_TO = {"models/runtime/generate.py", "models/runtime/prompt.py"}
"""They make the samples to listen to, and nothing that is trained."""

pytestmark = pytest.mark.usefixtures("toys")

TOY: dict[str, Any] = {
    **TOY_STAGE,
    "data": {"seconds_per_step": 12, "held_out": 0.1},
    "steps": 20,
    "save_every": 9,
    "validate_every": 10,
}


def test_a_stage_makes_a_bundle_curves_and_metrics(job: Callable[..., Job], corpus: Path, tmp_path: Path) -> None:
    first = job(TOY)
    outcome = run(first)
    assert outcome.summary["last"]["toy/guess"] < outcome.summary["first"]["toy/guess"]
    assert outcome.summary["over"] == 2
    assert outcome.summary["licenses"] == ["CC0-1.0"]
    assert set(outcome.summary["validation"]) == {"toy/guess", "toy/length"}
    assert (first.out / "losses.png").stat().st_size > 5000
    bundle = load_bundle(first.out / "bundle")
    assert bundle.card["stage"] == "toy"
    assert bundle.card["steps"] == 20
    assert bundle.card["parents"]["data"]["digest"] == card_digest(corpus)
    assert "guess.0.weight" in bundle.training["toy"]
    records, _ = read_from(tmp_path / "journal" / "worker-0.jsonl", 0)
    assert [r["step"] for r in records if "loss/toy/guess" in r["v"]] == list(range(1, 21))
    assert [r["step"] for r in records if "validation/toy/guess" in r["v"]] == [0, 10, 20]


def test_the_same_manifest_makes_the_same_weights_and_another_seed_others(job: Callable[..., Job]) -> None:
    one, same, other = (run(job(TOY | change, work=f"work{n}")) for n, change in enumerate(({}, {}, {"seed": 1})))
    assert one.digest == same.digest != other.digest


def test_a_finished_stage_run_again_only_writes_its_bundle(job: Callable[..., Job]) -> None:
    one = run(job(TOY))
    lines = (job(TOY).work / "losses.jsonl").read_text()
    again = run(job(TOY))
    assert again.digest == one.digest
    assert (job(TOY).work / "losses.jsonl").read_text() == lines


def test_a_stage_asked_to_stop_saves_its_step_and_goes_on_from_there(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(job(TOY, work="whole"))
    inner = Worker.step

    def step(worker: Worker, number: int, micros: Any) -> Any:
        if number == 5:
            (worker.work / STOP).write_text("")
        return inner(worker, number, micros)

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "step", step)
        with pytest.raises(KeyboardInterrupt):
            run(job(TOY, work="cut"))
    cut = job(TOY, work="cut")
    assert [path.name for path in (cut.work / "checkpoints").iterdir()] == ["step-00000006"]
    assert not (cut.work / STOP).exists()
    assert run(cut).digest == whole.digest


def test_however_slow_the_disk_a_kill_costs_no_more_than_an_interval(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import checkpoint
    from training.steplog import StepLog

    write, log = checkpoint.CheckpointWriter.write, StepLog.write
    lost: list[int] = []

    def slow(writer: checkpoint.CheckpointWriter) -> None:
        time.sleep(0.5)  # many times longer than an interval of the toy
        write(writer)

    def logged(steps: StepLog, report: Any, **facts: Any) -> None:
        log(steps, report, **facts)
        whole = [root for root in checkpoint.folders(toy.work / "checkpoints") if checkpoint.finished(root)]
        lost.append(report.step - max((int(root.name.removeprefix("step-")) for root in whole), default=0))

    toy = job({**TOY, "save_every": 4, "steps": 14})
    monkeypatch.setattr(checkpoint.CheckpointWriter, "write", slow)
    monkeypatch.setattr(StepLog, "write", logged)
    run(toy)
    assert len(lost) == 14
    assert max(lost) == 4


def test_what_a_stage_has_told_outlives_a_full_disk_and_a_power_cut_at_the_next_start(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = job({**TOY, "try_heaviest": False})
    (toy.work / STOP).write_text("")
    with pytest.raises(KeyboardInterrupt):
        run(toy)
    log = toy.work / "losses.jsonl"
    (toy.work / "samples").mkdir()
    (toy.work / "samples" / "step-00000001-a.wav").write_bytes(b"RIFF")
    before = log.read_text()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            StepLog(log, journal=None, first=1, every=1)
    assert log.read_text() == before
    log.write_bytes(b"\0" * 40 + b"\n" + before.encode())
    outcome_of = run(job({**TOY, "try_heaviest": False}))
    assert [line["step"] for line in read_log(log) if "losses" in line] == list(range(1, 21))
    assert outcome_of.summary["steps"] == 20
    assert list(toy.out.parent.glob("out-*/samples/step-00000001-a.wav"))


def test_a_stage_starts_from_the_bundle_of_another(job: Callable[..., Job]) -> None:
    before = job(TOY, work="before")
    made = Made(
        kind="train",
        name="before",
        out=before.out,
        digest=run(before).digest,
        fingerprint="",
        run="b" * 32,
        summary={"licenses": ["CC-BY-4.0"]},
    )
    after = job({**TOY, "model": None, "steps": 3}, work="after", start_from=made)
    assert run(after).summary["licenses"] == ["CC-BY-4.0", "CC0-1.0"]
    assert load_bundle(after.out / "bundle").card["parents"]["start_from"]["run"] == "b" * 32


def test_a_loss_that_is_not_finite_is_a_sentence_with_its_place(job: Callable[..., Job]) -> None:
    toy = job({**TOY, "objective": {"name": "toy", "nan_at": 11}})
    with pytest.raises(
        Refused, match=r"stage toy, step 12, player net: toy/guess is not finite; .*rank 0: [0-9a-f]{26}"
    ):
        run(toy)
    lines = [json.loads(line) for line in (toy.work / "losses.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 11
    assert sorted(path.name for path in (toy.work / "checkpoints").iterdir()) == ["step-00000008"]


def test_a_stage_says_whether_it_came_below_its_bar(
    job: Callable[..., Job], capsys: pytest.CaptureFixture[str]
) -> None:
    run(job({**TOY, "bar": {"after_steps": 20, "below": {"toy/guess": 10.0}}}))
    assert "its bar is passed" in capsys.readouterr().out
    asked = {"after_steps": 20, "below": {"toy/guess": 1e-9, "toy/none": 1.0, "toy/length": 1e9}}
    summary = run(job({**TOY, "bar": asked})).summary
    assert re.fullmatch(r"toy/guess is 0\.\d+, not below 1e-09", summary["bar"]["missed"])
    told = capsys.readouterr().out
    assert f"less than its manifest expects, held out: {summary['bar']['missed']}; not measured on so few" in told
    assert summary["bar"]["not_measured"] == "toy/none"
    assert "bar" not in run(job({**TOY, "bar": {**asked, "after_steps": 21}})).summary


@pytest.mark.system
def test_a_tiny_stage_learns_what_its_manifest_expects(
    job: Callable[..., Job], untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cheapest stage: its steps, rates and networks, in one process, on half of the audio a step."""
    asked = yaml.safe_load((MODELS.parent / "train" / "tiny" / "backbone_stage1.yaml").read_text())
    asked["data"]["seconds_per_step"] = 12
    asked |= {"engine": {"name": "plain"}, "workers": 1, "launcher": "in_process", "try_heaviest": False}
    asked |= {"validate_every": asked["steps"], "save_every": asked["steps"], "sample_every": asked["steps"]}
    facts = {"name": "before", "digest": "b" * 32, "fingerprint": "f" * 64, "run": "b" * 32}
    summary = run(job(asked, start_from=Made(kind="train", out=untrained.parent, **facts))).summary
    before = missed(summary["validation_first"], below=asked["bar"]["below"])
    assert "flow/velocity is 3." in before
    assert "stop/bce is 0.7" in before
    assert summary["bar"] == {"below": asked["bar"]["below"], "missed": "", "not_measured": ""}
    assert "its bar is passed" in capsys.readouterr().out


def test_a_mixture_reads_several_corpora_and_one_that_it_does_not_name_is_a_sentence(
    job: Callable[..., Job], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = {**TOY, "data": {**TOY["data"], "mixture": [{}, {"role": "data_other", "weight": 2.0}]}, "steps": 2}
    both = job(mixed)
    other = replace(both.inputs["data"], out=Path(shutil.copytree(corpus, tmp_path / "other")))
    run(replace(both, inputs={**both.inputs, "data_other": other}))
    assert "from 44 samples" in capsys.readouterr().out
    alone = job(TOY)
    with pytest.raises(Refused, match=r"data_other: nothing reads it: data.mixture has no part of that role; add one"):
        run(replace(alone, inputs={**alone.inputs, "data_other": other}))


def test_what_the_machine_refused_a_worker_is_a_sentence() -> None:
    from ray.train import WorkerGroupError

    error = WorkerGroupError("Training failed", {1: RuntimeError("closed"), 0: OSError(errno.ENOSPC, "full", "a.pt")})
    told = sentence_of(error)
    assert told is not None
    assert told[0].startswith("the disk is full (a.pt)")
    assert sentence_of(WorkerGroupError("Training failed", {1: Stopped("shard 7 is torn")})) == ("shard 7 is torn", 1)


def test_a_step_that_is_not_as_long_as_asked_for_is_told(
    job: Callable[..., Job], capsys: pytest.CaptureFixture[str]
) -> None:
    def told(seconds_per_step: float) -> str:
        short = {**TOY, "data": {"seconds_per_step": seconds_per_step, "held_out": 0}, "steps": 1}
        run(job({**short, "validation_batches": 0, "try_heaviest": False}, work=f"work-{seconds_per_step}"))
        return capsys.readouterr().out

    assert re.search(r"a step has 5\d\.\d s of audio, and not 300: all that there is makes 1 step\n", told(300))
    assert "and not" not in told(9)


def test_every_network_that_training_imports_is_part_of_the_fingerprint() -> None:
    known = code_of(CODE)
    for file in (ROOT / "training").rglob("*.py"):
        for part in ast.walk(ast.parse(file.read_text())):
            if isinstance(part, ast.ImportFrom) and (part.module or "").startswith(("models.", "pipelines.")):
                name = f"{str(part.module).replace('.', '/')}.py"
                decides = (ROOT / name).is_file() and name not in LISTENED_TO
                assert not decides or name in known, f"{file.name} imports {name}"


def test_corpora_of_the_command_line_have_roles() -> None:
    assert corpora_of(["a/b", "data_emilia=s3://x/y=z"]) == {"data": "a/b", "data_emilia": "s3://x/y=z"}
    with pytest.raises(ManifestError, match="write data_NAME=c for another of the mixture"):
        corpora_of(["a", "c"])


def test_neither_bundle_nor_model_is_a_sentence(job: Callable[..., Job]) -> None:
    with pytest.raises(Refused, match="give it a bundle"):
        run(job({**TOY, "model": None}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_stage_that_asks_for_a_gpu_does_not_train_without_one(job: Callable[..., Job]) -> None:
    with pytest.raises(Refused, match="device is cuda, and torch can use no GPU here"):
        run(job(TOY | {"device": "cuda"}))
