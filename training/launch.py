"""The kind `train` of the workflow: a manifest and a corpus in, a bundle out; Ray Train starts and restarts workers."""

import json
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.log import clock
from infra.manifest import ManifestError
from infra.storage import write_atomic
from infra.workflow.node import Job, Outcome, Refused
from models.runtime.bundle import BundleError
from pipelines.shards import CorpusError, open_corpus
from training import report
from training.checkpoint import CheckpointError
from training.data.stream import DataError, open_sources, seconds_of
from training.loop import ERRAND, LOSSES, Errand, Worker, read_log
from training.manifest import StageManifest, needs_text
from training.manifest import identity as identity
from training.update import NonFinite
from training.world import World

MANIFEST = StageManifest
ROLES: Mapping[str, bool] = {"data": True, "start_from": False}
CODE = (
    "training",
    "models/audiovae",
    "models/backbone",
    "models/speaker",
    "models/text",
    "models/runtime/bundle.py",
    "models/runtime/files.py",
    "pipelines/shards.py",
)
STOPPED = "stopped.json"
"""A worker's last words, for the person: written where a stage ends with a sentence and not by a crash."""
SENTENCES = (NonFinite, CheckpointError, DataError, CorpusError, BundleError, ManifestError)
"""Errors whose message is for a person, and which another start of the workers would not mend."""


def run(job: Job) -> Outcome:
    """Train the stage, from where an earlier attempt left it.

    Raises: Refused.
    """
    manifest = job.manifest
    assert isinstance(manifest, StageManifest)
    errand = errand_of(job, manifest)
    (job.work / STOPPED).unlink(missing_ok=True)
    write_atomic(job.work / ERRAND, json.dumps(errand.to_dict()))
    write_atomic(job.work / "attempt", errand.token)
    began = time.monotonic()
    with watching(job, manifest):
        if manifest.launcher == "in_process":
            work(errand, World(), job.say)
        else:
            job.connect()
            fit(errand, name=job.name)
    if (job.work / STOPPED).exists():
        raise Refused(json.loads((job.work / STOPPED).read_text())["sentence"])
    return finish(job, manifest, seconds=time.monotonic() - began)


def errand_of(job: Job, manifest: StageManifest) -> Errand:
    """What the workers are told; what can be found wrong before they start is found here.

    Raises: Refused.
    """
    folders = {role: str(made.out) for role, made in job.inputs.items() if made.kind == "corpus"}
    parent = job.inputs.get("start_from")
    if parent is None and manifest.model is None:
        raise Refused(f"{job.name}: give it a bundle (start_from), or set `model` to a name in manifests/models")
    try:
        sources = open_sources(manifest.data, folders=folders, needs_text=needs_text(manifest.objective.name))
    except (DataError, CorpusError) as error:
        raise Refused(str(error)) from None
    hours = seconds_of(sources) / 3600
    held = sum(len(source.held_out) for source in sources)
    job.say(
        f"{manifest.steps} steps of {manifest.data.seconds_per_step:g} s on {manifest.workers} "
        f"worker{'s' if manifest.workers > 1 else ''}, from {sum(len(s.numbers) for s in sources)} samples "
        f"({hours:.2f} h); {held} held out"
    )
    return Errand(
        manifest=manifest,
        folders=folders,
        start_from=None if parent is None else str(parent.out / "bundle"),
        work=str(job.work),
        out=str(job.out),
        token=uuid.uuid4().hex,
        journal=str(job.run.journal),
        card={
            "stage": manifest.stage,
            "run": job.run.id,
            "parents": {role: {"run": m.run, "digest": m.digest, "name": m.name} for role, m in job.inputs.items()},
            "licenses": licenses_of(job),
        },
    )


def licenses_of(job: Job) -> list[str]:
    """Licenses of everything that the weights come from, each once, sorted."""
    found: set[str] = set()
    for made in job.inputs.values():
        if made.kind == "corpus":
            found.update(open_corpus(made.out).licenses)
        else:
            found.update(map(str, made.summary.get("licenses") or ()))
    return sorted(found)


def work(errand: Errand, world: World, say: Callable[[str], None]) -> None:
    """What every worker does. An end that deserves a sentence is written down for the driver; a crash is a crash."""
    try:
        Worker(errand, world, say).train()
    except SENTENCES as error:
        if world.rank == 0:
            write_atomic(Path(errand.work) / STOPPED, json.dumps({"sentence": str(error)}))


def fit(errand: Errand, *, name: str) -> None:
    """Let Ray Train start the workers, and start them again when one dies; returns when all have ended.

    Raises: Refused when they died more often than the manifest allows.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    manifest = errand.manifest
    gpus = manifest.device == "cuda"
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=errand.to_dict(),
        scaling_config=ScalingConfig(
            num_workers=manifest.workers, use_gpu=gpus, resources_per_worker={"CPU": 1, **({"GPU": 1} if gpus else {})}
        ),
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        run_config=RunConfig(
            name=f"{name}-{errand.token[:8]}",
            storage_path=str(Path(errand.work) / "ray"),
            failure_config=FailureConfig(max_failures=manifest.max_failures),
        ),
    )
    trainer.fit()


def train_worker(config: dict[str, Any]) -> None:
    """The loop in a worker of Ray Train, which has made the process group."""
    from training.world import world_of_process_group

    world = world_of_process_group()
    path = Path(config["work"]) / "worker.log"

    def say(line: str) -> None:
        if world.rank == 0:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    work(Errand.from_dict(config), world, say)


# -- what the person sees meanwhile


@contextmanager
def watching(job: Job, manifest: StageManifest) -> Iterator[None]:
    """Report step, loss and remaining time from losses.jsonl while the workers write it."""
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(job, manifest, done), daemon=True, name=f"watch {job.name}")
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def watch(job: Job, manifest: StageManifest, done: threading.Event) -> None:
    """Say what the workers say; a line at most every five seconds, and the first one at once."""
    told, at, spoken = -1, 0.0, 0
    notes = job.work / "worker.log"
    notes.unlink(missing_ok=True)
    while not done.wait(0.5):
        lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
        for line in lines[spoken:]:
            job.say(line)
        spoken = len(lines)
        steps = [line for line in read_log(job.work / LOSSES) if "losses" in line]
        if not steps or steps[-1]["step"] <= told or (time.monotonic() - at < 5 and told >= 0):
            continue
        told, at = steps[-1]["step"], time.monotonic()
        job.say(report.progress(steps, steps_in_all=manifest.steps))


def finish(job: Job, manifest: StageManifest, *, seconds: float) -> Outcome:
    """Curves, summary and digest of what the workers left."""
    lines = read_log(job.work / LOSSES)
    shutil.copy(job.work / LOSSES, job.out / LOSSES)
    report.draw(lines, job.out / "losses.png", title=manifest.stage)
    for name in (LOSSES, "losses.png", "samples"):
        if (job.out / name).exists():
            job.run.artifact(job.out / name)
    first, last, over = report.first_and_last(lines)
    job.say(report.first_to_last(first, last, over=over) + f" ({clock(seconds)})")
    summary = {
        "stage": manifest.stage,
        "objective": manifest.objective.name,
        "steps": manifest.steps,
        "seconds": round(seconds, 1),
        "first": first,
        "last": last,
        "over": over,
        "validation": next((line["validation"] for line in reversed(lines) if "validation" in line), {}),
        "licenses": licenses_of(job),
    }
    return Outcome(digest=report.bundle_digest(job.out / "bundle"), summary=summary)
