"""A bundle out of a stage: the one that it made, or what its newest checkpoint would make."""

import sys
from pathlib import Path

from infra.locks import new_folder
from infra.workflow.node import Refused
from models.runtime.bundle import Bundle, load_bundle, save_bundle
from training import checkpoint as checkpoints
from training.checkpoint import Checkpoint
from training.engine import trainable
from training.errand import ERRAND, Errand
from training.loop import Worker
from training.transfer import shapes_of, whole_of
from training.world import World


def export(stage: Path, *, to: Path, whole: bool = False) -> Path:
    """Write the bundle of the stage in folder `stage` into the empty or absent folder `to`; returns it.

    Without `whole` it is an official directory: the parts that only training needs are left out.

    Raises: Refused where the stage has neither a bundle nor a whole checkpoint; BundleError.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise Refused(f"{to} is not an empty folder; give an empty or new one")
    made = next((path for path in (stage / "out" / "bundle", stage / "bundle", stage) if is_bundle(path)), None)
    bundle = load_bundle(made) if made is not None else of_checkpoint(stage)
    card = dict(bundle.card)
    if not whole:
        bundle.training = {}
    with new_folder(to):
        save_bundle(bundle, to, card=card)
    return to


def is_bundle(path: Path) -> bool:
    """Is it a bundle, and not a stage?"""
    return (path / "config.json").is_file()


def of_checkpoint(stage: Path) -> Bundle:
    """What the stage would make if it ended at its newest whole checkpoint.

    Raises: Refused.
    """
    work = stage / "work" if (stage / "work").is_dir() else stage
    if not (work / ERRAND).is_file():
        raise Refused(
            f"{stage} has no bundle, and no training was begun there: give the folder of a stage in the store"
        )
    newest_in(work)  # where there is none, before the work
    errand = Errand.of(work)
    plain = errand.manifest.engine.model_copy(update={"name": "plain", "accumulation": 1, "compile": False})
    alone = errand.manifest.model_copy(update={"engine": plain, "workers": 1, "device": "cpu"})
    worker = Worker(Errand(**{**errand.__dict__, "manifest": alone}), World(), print)
    step = take_newest(worker, work)
    bundle = worker.made()
    bundle.card = {**errand.card, "steps": step, "unfinished": True}
    return bundle


def take_newest(worker: Worker, work: Path) -> int:
    """Load the weights of the newest whole checkpoint, and say of which step; a stage at work may remove the one that
    is being read for newer ones.

    Raises: Refused.
    """
    while True:
        found = newest_in(work)
        try:
            for name, engine in worker.engines.items():
                shapes = shapes_of(trainable(engine.player))
                engine.player.load_state_dict(whole_of(found, name=name, shapes=shapes).weights)
            return found.step
        except FileNotFoundError:
            if found.root.exists():
                raise


def newest_in(work: Path) -> Checkpoint:
    """The newest whole checkpoint of the stage with this work folder.

    Raises: Refused where there is none.
    """
    found = checkpoints.newest(work / "checkpoints", say=lambda line: print(line, file=sys.stderr))
    if found is None:
        raise Refused(f"{work.parent} has no bundle and no whole checkpoint yet")
    return found
