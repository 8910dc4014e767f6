"""What the person sees while the workers of a stage train: their words, and a line every few seconds of their steps."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from infra.cluster import room
from infra.waiting import Silence, beside
from infra.workflow.node import Job
from training import report
from training.manifest import StageManifest
from training.steplog import LOSSES

EVERY_SECONDS = 10.0
NOTES = "worker.log"
"""What workers have to say, for the driver to pass on."""


@contextmanager
def watching(job: Job, manifest: StageManifest) -> Iterator[None]:
    """Report step, loss and remaining time from losses.jsonl while the workers write it."""
    with beside(partial(watch, job=job, manifest=manifest), name=f"watch {job.name}"):
        yield


def watch(done: threading.Event, *, job: Job, manifest: StageManifest) -> None:
    """Say what the workers say; of their steps, one line every few seconds, and the first one at once."""
    at, fresh, silence = 0.0, False, Silence()
    (job.work / NOTES).unlink(missing_ok=True)
    notes, losses = Tail(job.work / NOTES), Tail(job.work / LOSSES, skip=True)
    pace = report.Pace(manifest)
    while not done.wait(0.5):
        for line in notes.lines():
            job.say(line)
        found = [step for step in map(json.loads, losses.lines()) if "losses" in step]
        for step in found:
            pace.add(step)
        fresh = fresh or bool(found)
        if fresh and time.monotonic() - at >= EVERY_SECONDS:
            at, fresh = time.monotonic(), False
            job.say(pace.told())
        if found:
            silence.heard()
        elif quiet := silence.told():
            job.say(f"no step has ended for {quiet}{lack_of_room(manifest)}")


def lack_of_room(manifest: StageManifest) -> str:
    """What follows where the cluster has not machines for the workers that the stage needs at least; else empty."""
    if manifest.launcher != "ray":
        return ""
    import ray

    least = manifest.min_workers or manifest.workers
    if not ray.is_initialized() or (there := room(CPU=1, GPU=float(manifest.device == "cuda"))) >= least:
        return ""
    return f"; the cluster has room for {there} of {least} workers: waiting for a machine"


class Tail:
    """Lines of a file that grows, each once; another file in its place is skipped to its end."""

    def __init__(self, path: Path, *, skip: bool = False) -> None:
        self.path = path
        told = path.stat() if skip and path.exists() else None
        self.file = None if told is None else told.st_ino
        self.at = 0 if told is None else told.st_size

    def lines(self) -> list[str]:
        """Whole lines that came since the last call."""
        if not self.path.exists():
            return []
        told = self.path.stat()
        if self.file not in (None, told.st_ino):
            self.at = told.st_size
        self.file = told.st_ino
        with self.path.open("rb") as file:
            file.seek(self.at)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self.at += whole
        return data[:whole].decode().splitlines()
