"""What a worker does, and how the word of its end comes to the driver: saved and halted, a sentence, or a crash."""

import json
from collections.abc import Callable
from pathlib import Path

from infra.manifest import ManifestError
from infra.storage import write_atomic
from infra.workflow.node import STOP, Refused
from models.runtime.bundle import BundleError
from pipelines.shards import CorpusError
from training.checkpoint import CheckpointError
from training.data.stream import DataError
from training.errand import Errand
from training.heaviest import DoesNotFit
from training.leaks import Leak
from training.loop import Halted, Worker
from training.update import NonFinite
from training.world import World

STOPPED = "stopped.json"
"""A worker's last words, for the person: written where a stage ends with a sentence and not by a crash."""
HALTED = "halted"
"""Written by the workers where they have saved their state and ended because they were asked to."""
SENTENCES = (DoesNotFit, NonFinite, Leak, CheckpointError, DataError, CorpusError, BundleError, ManifestError)
"""Errors whose message is for a person, and which another start of the workers would not mend."""
TOGETHER = (NonFinite, Leak)
"""Those of them that every worker raises. Any other may meet one worker alone, while all others wait for its part of a
sum."""


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


def forget_end(work_folder: Path) -> None:
    """Forget how an earlier attempt ended."""
    for name in (STOPPED, HALTED):
        (work_folder / name).unlink(missing_ok=True)


def raise_end(work_folder: Path, *, say: Callable[[str], None]) -> None:
    """Once all workers have ended: nothing where the stage is done.

    Raises: KeyboardInterrupt where they were asked to stop, and have saved their state; Refused with their last words.
    """
    if (work_folder / HALTED).exists():
        say((work_folder / HALTED).read_text())
        (work_folder / STOP).unlink(missing_ok=True)
        raise KeyboardInterrupt
    if (work_folder / STOPPED).exists():
        raise Refused(json.loads((work_folder / STOPPED).read_text())["sentence"])
