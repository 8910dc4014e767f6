"""The kind `train` of the workflow: a manifest and a corpus in, a bundle out; Ray Train starts and restarts workers."""

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra.log import clock
from infra.manifest import ManifestError
from infra.storage import write_atomic
from infra.workflow.node import STOP, Job, Outcome, Refused
from models.runtime.bundle import BundleError
from models.runtime.configuration import read_config
from pipelines.shards import CorpusError, open_corpus
from training import heard, report
from training.checkpoint import CheckpointError
from training.data.batching import plan_of, sources_of
from training.data.replaced import refuse_replaced
from training.data.stream import DataError, about_held_out, seconds_of
from training.errand import ERRAND, Errand
from training.heap import keep_freed_memory
from training.heaviest import DoesNotFit
from training.leaks import Leak
from training.loop import Halted, Worker
from training.manifest import StageManifest
from training.manifest import identity as identity
from training.network import torch_config
from training.roles import misfits as misfits
from training.start import stop_unless_fit
from training.steplog import LOSSES, read_log
from training.update import NonFinite
from training.validate import SAMPLES
from training.watch import NOTES, lack_of_room, watching
from training.world import World

MANIFEST = StageManifest
ROLES: Mapping[str, bool] = {"data": True, "data_*": False, "start_from": False}
CODE = (
    "training",
    "models/audiovae",
    "models/backbone",
    "models/frozen/wavlm.py",
    "models/packing.py",
    "models/speaker",
    "models/text",
    "models/runtime/bundle.py",
    "models/runtime/configuration.py",
    "models/runtime/files.py",
    "models/runtime/latents.py",
    "models/runtime/tensors.py",
    "pipelines/packing/corpus_json.py",
    "pipelines/packing/index.py",
    "pipelines/packing/layout.py",
    "pipelines/packing/members.py",
    "pipelines/packing/tar.py",
    "pipelines/policy/views.py",
    "pipelines/shards.py",
)
HALTS = True
RESIZE_SECONDS = 600.0
"""Between two looks for room for more workers: a change loses what came after the newest checkpoint."""
STOPPED = "stopped.json"
"""A worker's last words, for the person: written where a stage ends with a sentence and not by a crash."""
HALTED = "halted"
"""Written by the workers where they have saved their state and ended because they were asked to."""
SENTENCES = (DoesNotFit, NonFinite, Leak, CheckpointError, DataError, CorpusError, BundleError, ManifestError)
"""Errors whose message is for a person, and which another start of the workers would not mend."""
TOGETHER = (NonFinite, Leak)
"""Those of them that every worker raises. Any other may meet one worker alone, while all others wait for its part of a
sum."""


def run(job: Job) -> Outcome:
    """Train the stage, from where an earlier attempt left it.

    Raises: Refused; KeyboardInterrupt where it was asked to stop, and has saved its state.
    """
    manifest = job.manifest
    assert isinstance(manifest, StageManifest)
    errand = errand_of(job, manifest)
    for name in (STOPPED, HALTED):
        (job.work / name).unlink(missing_ok=True)
    write_atomic(job.work / ERRAND, json.dumps(errand.to_dict()))
    write_atomic(job.work / "attempt", errand.token)
    began = time.monotonic()
    with watching(job, manifest):
        if manifest.launcher == "in_process":
            work(errand, alone(manifest), job.say)
        else:
            job.connect()
            if lacking := lack_of_room(manifest):
                job.say(f"not begun yet{lacking}")
            fit(errand, name=job.name)
    if (job.work / HALTED).exists():
        job.say((job.work / HALTED).read_text())
        (job.work / STOP).unlink(missing_ok=True)
        raise KeyboardInterrupt
    if (job.work / STOPPED).exists():
        raise Refused(json.loads((job.work / STOPPED).read_text())["sentence"])
    return finish(job, manifest, seconds=time.monotonic() - began)


def alone(manifest: StageManifest) -> World:
    """The only worker, in this process, on the device that the manifest names.

    Raises: Refused where that is not there.
    """
    import torch

    if manifest.device == "cuda" and not torch.cuda.is_available():
        raise Refused(f"{manifest.stage}: device is cuda, and torch can use no GPU here; set device: cpu")
    return World(device=torch.device(manifest.device))


def errand_of(job: Job, manifest: StageManifest) -> Errand:
    """What the workers are told; what can be found wrong before they start is found here.

    Raises: Refused.
    """
    folders = {role: str(made.out) for role, made in job.inputs.items() if made.kind == "corpus"}
    digests = {role: job.inputs[role].digest for role in folders}
    if wrong := misfits(manifest, dict.fromkeys(job.inputs)):
        raise Refused(f"{job.name}: {'; '.join(wrong)}")
    parent = job.inputs.get("start_from")
    try:
        if parent is not None and (parent.out / "bundle" / "config.json").is_file():
            stop_unless_fit(manifest, read_config(parent.out / "bundle"))
        refuse_replaced(folders, digests=digests)
        sources = sources_of(manifest, folders=folders, memory=job.work / heard.FOUND)
        plan = plan_of(manifest, sources)
    except (DataError, CorpusError, BundleError) as error:
        raise Refused(str(error)) from None
    asked = manifest.data.seconds_per_step
    job.say(
        f"{manifest.steps} steps of {asked:g} s on {manifest.workers} "
        f"worker{'s' if manifest.workers > 1 else ''}, from {sum(len(s.numbers) for s in sources)} samples "
        f"({clock(seconds_of(sources))}); {about_held_out(sources)}"
    )
    if uneven := plan.uneven(asked=asked):
        job.say(uneven)
    return Errand(
        manifest=manifest,
        folders=folders,
        start_from=None if parent is None else str(parent.out / "bundle"),
        work=str(job.work),
        out=str(job.out),
        token=uuid.uuid4().hex,
        journal=str(job.run.journal),
        digests=digests,
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


class Stopped(RuntimeError):  # noqa: N818 - reads as what happened
    """A worker has written why the stage ends. The others may wait for it: whoever started them ends them."""


def work(errand: Errand, world: World, say: Callable[[str], None]) -> None:
    """What every worker does. An end that deserves a sentence is written down for the driver; a crash is a crash.

    Raises: Stopped where it is not sure that the other workers end, too. Started again, they end at once. Superseded
    where this attempt has nothing to say any more.
    """
    stopped = Path(errand.work) / STOPPED
    if world.first(stopped.exists()):  # the same for all: a folder on a network looks different from each machine
        return
    try:
        Worker(errand, world, say).train()
    except Halted as end:
        if world.rank == 0:
            errand.still_ours()
            write_atomic(Path(errand.work) / HALTED, f"{end}; run it again to go on")
    except SENTENCES as error:
        together = isinstance(error, TOGETHER) or world.size == 1
        if world.rank == 0 or not together:
            errand.still_ours()
            write_atomic(stopped, json.dumps({"sentence": str(error)}))
        if not together:
            raise Stopped(str(error)) from error


def fit(errand: Errand, *, name: str) -> None:
    """Let Ray Train start the workers, and start them again when one dies; returns when all have ended.

    Raises: TrainingFailedError when they died more often than the manifest allows, and none said why in a sentence.
    """
    settle()
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError

    manifest = errand.manifest
    gpus = manifest.device == "cuda"
    trainer = lean_trainer()(
        train_worker,
        train_loop_config=errand.to_dict(),
        scaling_config=ScalingConfig(
            num_workers=manifest.workers if manifest.min_workers is None else (manifest.min_workers, manifest.workers),
            use_gpu=gpus,
            resources_per_worker={"CPU": 1, **({"GPU": 1} if gpus else {})},
            elastic_resize_monitor_interval_s=RESIZE_SECONDS,
        ),
        torch_config=torch_config(backend="nccl" if gpus else "gloo"),
        run_config=RunConfig(
            name=f"{name}-{errand.token[:8]}",
            storage_path=str(Path(errand.work) / "ray"),
            failure_config=FailureConfig(
                max_failures=manifest.max_failures, controller_failure_limit=manifest.max_failures
            ),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError:
        if not (Path(errand.work) / STOPPED).exists():
            raise


def settle() -> None:
    """Settings of Ray Train that it reads from the environment alone; what the person has set stays."""
    import ray

    chosen = {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # 60 by default: a busy machine then starts workers for ever
        "RAY_TRAIN_METRICS_ENABLED": "0",
    }
    if len(ray.nodes()) == 1:
        chosen["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
    for name, value in chosen.items():
        os.environ.setdefault(name, value)  # noqa: TID251 - there is no other way to say it


def lean_trainer() -> Any:
    """TorchTrainer without the actors that serve nothing here; each is a process, and 2 s of a core at every start.

    The manager of Ray Data sets has none to manage. The cleaner of placement groups outlives a killed driver; on a
    local Ray nothing does.
    """
    import ray
    from ray.train.torch import TorchTrainer

    unused = {"DatasetsCallback"} | ({"PlacementGroupCleanerCallback"} if len(ray.nodes()) == 1 else set())

    class LeanTrainer(TorchTrainer):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            return [one for one in super()._create_default_callbacks() if type(one).__name__ not in unused]

        def _register_sigint_handler(self, controller: Any) -> None:
            """Ctrl-C stays with who runs the stage, and lets it save; Ray's own handler throws the work away."""

    return LeanTrainer


def train_worker(config: dict[str, Any]) -> None:
    """The loop in a worker of Ray Train, which has made the process group."""
    from training.world import world_of_process_group

    keep_freed_memory()
    world = world_of_process_group()
    path = Path(config["work"]) / NOTES

    def say(line: str) -> None:
        if world.rank == 0:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    errand = Errand.from_dict(config)
    if world.size < errand.manifest.workers:
        say(f"{world.size} of {errand.manifest.workers} workers have room")
    work(errand, world, say)


def finish(job: Job, manifest: StageManifest, *, seconds: float) -> Outcome:
    """Curves, summary and digest of what the workers left."""
    lines = read_log(job.work / LOSSES)
    shutil.copy(job.work / LOSSES, job.out / LOSSES)
    if (job.work / SAMPLES).is_dir():
        shutil.copytree(job.work / SAMPLES, job.out / SAMPLES, dirs_exist_ok=True)
    report.draw(lines, job.out / "losses.png", title=manifest.stage)
    for name in (LOSSES, "losses.png", SAMPLES):
        if (job.out / name).exists():
            job.run.artifact(job.out / name)
    heard.keep(job.work, job.out, manifest=manifest)
    first, last, over = report.first_and_last(lines)
    held = [line["validation"] for line in lines if "validation" in line]
    summary = {
        "stage": manifest.stage,
        "objective": manifest.objective.name,
        "steps": manifest.steps,
        "seconds": round(seconds, 1),
        "over": over,
        "first": first,
        "last": last,
        "validation_first": held[0] if held else {},
        "validation": held[-1] if held else {},
        "licenses": licenses_of(job),
    }
    job.say(f"{report.first_to_last(summary)} ({clock(seconds)})")
    if manifest.bar is not None and manifest.steps >= manifest.bar.after_steps and held:
        missed = report.missed(held[-1], below=manifest.bar.below)
        absent = ", ".join(sorted(set(manifest.bar.below) - set(held[-1])))
        summary["bar"] = {"below": manifest.bar.below, "missed": missed, "not_measured": absent}
        job.say(report.of_bar(held[-1], below=manifest.bar.below))
    return Outcome(digest=report.bundle_digest(job.out / "bundle"), summary=summary)
