"""The kind `train` of the workflow: a manifest and a corpus in, a bundle out."""

import json
import time
import uuid
from collections.abc import Mapping

from infra.log import clock
from infra.storage import write_atomic
from infra.workflow.node import Job, Outcome, Refused
from models.runtime.bundle import BundleError
from models.runtime.configuration import read_config
from pipelines.shards import CorpusError
from training import heard
from training.data.batching import plan_of, sources_of
from training.data.replaced import refuse_replaced
from training.data.stream import DataError, about_held_out, seconds_of
from training.ends import forget_end, raise_end, work
from training.errand import ERRAND, Errand
from training.manifest import StageManifest
from training.manifest import identity as identity
from training.outcome import finish, licenses_of
from training.ray_train import fit
from training.roles import misfits as misfits
from training.start import stop_unless_fit
from training.watch import lack_of_room, watching
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


def run(job: Job) -> Outcome:
    """Train the stage, from where an earlier attempt left it.

    Raises: Refused; KeyboardInterrupt where it was asked to stop, and has saved its state.
    """
    manifest = job.manifest
    assert isinstance(manifest, StageManifest)
    errand = errand_of(job, manifest)
    forget_end(job.work)
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
    raise_end(job.work, say=job.say)
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
