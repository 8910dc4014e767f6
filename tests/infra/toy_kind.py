"""A kind of node for tests: adds up numbers, slowly if asked, keeping its progress in `work`; no mock of the engine."""

import hashlib
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.manifest import Manifest
from infra.workflow.node import STOP, Job, Outcome, Refused


class ToyManifest(Manifest):
    number: int = 1
    steps: int = 3
    seconds_per_step: float = 0.0
    wait_for: str = ""
    """Files, as a pattern, that the first step waits for."""
    wait_count: int = 1
    fail: str = ""
    note: str = ""
    """Decides nothing."""


MANIFEST = ToyManifest
ROLES: Mapping[str, bool] = {"left": False, "right": False}
CODE = ("infra/manifest.py",)
HALTS = True


def identity(manifest: ToyManifest) -> Mapping[str, Any]:
    return {"number": manifest.number, "steps": manifest.steps}


def run(job: Job) -> Outcome:
    cfg = job.manifest
    assert isinstance(cfg, ToyManifest)
    place = job.work / "progress.json"
    step = json.loads(place.read_text())["step"] if place.exists() else 0
    (job.out / "began_at.txt").write_text(str(step))
    (job.work / "begun").write_text("")
    wait(cfg)
    total = cfg.number + sum(int((made.out / "total.txt").read_text()) for made in job.inputs.values())
    while step < cfg.steps:
        time.sleep(cfg.seconds_per_step)
        step += 1
        job.run.metrics({"toy/total": float(total)}, step=step)
        place.write_text(json.dumps({"step": step}))
        with (job.work / "visits.txt").open("a") as visits:
            visits.write(f"{step}\n")
        stumble(cfg, step, job)
        if (job.work / STOP).exists():
            (job.work / "asked.txt").write_text(str(step))
            raise KeyboardInterrupt
    (job.out / "total.txt").write_text(str(total))
    job.run.artifact(job.out / "total.txt")
    digest = hashlib.sha256(str(total).encode()).hexdigest()
    return Outcome(
        digest,
        {"steps": step, "first": {"toy/total": 0.0}, "last": {"toy/total": float(total)}, "licenses": ["CC0-1.0"]},
    )


def wait(cfg: ToyManifest) -> None:
    """Until the files are there: what a test has to see meanwhile does not depend on how fast the machine is."""
    deadline = time.monotonic() + 300
    while cfg.wait_for and len(list(Path().glob(cfg.wait_for))) < cfg.wait_count:
        if time.monotonic() > deadline:
            raise Refused(f"waited in vain for {cfg.wait_for}")
        time.sleep(0.02)


def stumble(cfg: ToyManifest, step: int, job: Job) -> None:
    if cfg.fail == "refuse":
        raise Refused("the toy does not want to; give it another number")
    if cfg.fail == "bug":
        raise ZeroDivisionError("a bug in the toy")
    if cfg.fail == "kill" and step == 2 and job.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.fail.startswith("edit ") and step == 2:
        Path(cfg.fail.removeprefix("edit ")).write_text("def f(x):\n    return x + 2\n")
    if cfg.fail == "full disk":
        raise OSError(28, "No space left on device", str(Path("somewhere")))
