"""A driver that a test can kill: trains a small AudioVAE stage on two Ray Train workers, and prints its digest.

`drive.py CORPUS FOLDER...`: in a folder named `killed`, a worker is killed (SIGKILL) once a checkpoint is on disk. In
`workflow-N` the stage is a node of a workflow with N jobs at once; the exit code is 130 where it was stopped.
In `elastic` more workers are asked for than have room.
"""

import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

from infra.cluster import Cluster, ClusterManifest
from infra.journal import About, JournalRun
from infra.manifest import parse
from infra.shipping import Shipping
from infra.storage import ROOT, empty_folder
from infra.workflow.elsewhere import artifact_at
from infra.workflow.graph import build
from infra.workflow.manifest import NodeManifest, WorkflowManifest
from infra.workflow.node import Job, Made
from infra.workflow.run import WorkflowRun
from infra.workflow.store import Store
from pipelines.shards import card_digest
from training.launch import run
from training.manifest import StageManifest

MANIFEST = {
    "stage": "audiovae_stage1",
    "model": "tiny",
    "objective": {
        "name": "audiovae",
        "crop_frames": 4,
        "kl_ramp_steps": 4,
        "adversarial_from_step": 3,
        "discriminator": {"periods": [2], "period_channels": [4, 4], "cqt_hops": [], "cqt_bins": []},
        "flow": {"hidden": 8, "layers": 1, "couplings": 2},
    },
    "data": {"seconds_per_step": 1.28, "max_clip_seconds": 0.16, "held_out": 0},
    "optimizer": {"lr": 0.001, "clip": 100.0},
    "engine": {"name": "deepspeed", "zero_stage": 1},
    "workers": 2,
    "steps": 40,
    "save_every": 4,
    "sample_every": 1000,
    "max_failures": 2,
}


ELASTIC = {"workers": 3, "min_workers": 1, "steps": 6}
"""On a cluster that has room for two."""


def worker_pids() -> list[int]:
    """Processes of Ray Train workers that this driver started; others may just be ending."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(one.cmdline()):
                found.append(one.pid)
    return sorted(found)


def kill_one(folder: Path) -> None:
    """SIGKILL the last worker as soon as two checkpoints were begun."""
    while len(list(folder.glob("work/checkpoints/*"))) < 2:
        time.sleep(0.02)
    pids = worker_pids()
    print("killed", pids[-1], "of", pids, flush=True)
    psutil.Process(pids[-1]).kill()


def train(corpus: Path, folder: Path, cluster: Cluster) -> None:
    """One stage in `folder`; its result as a line of JSON."""
    (folder / "work").mkdir(parents=True, exist_ok=True)
    empty_folder(folder / "out")
    data = Made(kind="corpus", name="mini", out=corpus, digest=card_digest(corpus), fingerprint="", run="r" * 32)
    job = Job(
        name="stage",
        manifest=parse(StageManifest, MANIFEST | (ELASTIC if folder.name == "elastic" else {}), where="test"),
        inputs={"data": data},
        out=folder / "out",
        work=folder / "work",
        run=JournalRun(folder / "journal", About("a" * 32, "stage", "test", "train")),
        connect=cluster.connect,
        attempt=1,
        say=lambda line: print(line, flush=True),
    )
    outcome = run(job)
    print(json.dumps({"digest": outcome.digest, "first": outcome.summary["first"], "last": outcome.summary["last"]}))


def in_workflow(corpus: Path, folder: Path, cluster: Cluster) -> None:
    """The stage as the only node of a workflow whose store lies in `folder`; its result as a line of JSON."""
    folder.mkdir(exist_ok=True)
    store = Store(folder / "store")
    (folder / "stage.yaml").write_text(yaml.safe_dump(MANIFEST))
    named = WorkflowManifest(name="w", nodes={"stage": NodeManifest(kind="train", manifest=folder / "stage.yaml")})
    given = {"stage": {"data": artifact_at(corpus, store)}}
    nodes = build(named, root=ROOT, overrides={}, given=given)
    shipping = Shipping(store.root, "sqlite:///nowhere.db")
    shipping.start = lambda: None  # type: ignore[method-assign]  # the tracker has tests of its own
    try:
        row = WorkflowRun(
            workflow="w",
            nodes=nodes,
            store=store,
            cluster=cluster,
            shipping=shipping,
            experiment="test",
            wanted={"stage"},
        ).go(jobs=int(folder.name[-1]))["stage"]
    except KeyboardInterrupt:
        sys.exit(130)
    assert row.made is not None, row.note
    summary = row.made.summary
    print(json.dumps({"digest": row.made.digest, "first": summary["first"], "last": summary["last"]}))


def main() -> None:
    corpus, *folders = map(Path, sys.argv[1:])
    with Cluster(ClusterManifest(cpus=2, object_store_mb=100)) as cluster:
        for folder in folders:
            if folder.name == "killed":
                threading.Thread(target=kill_one, args=(folder,), daemon=True).start()
            (in_workflow if folder.name.startswith("workflow") else train)(corpus, folder, cluster)


if __name__ == "__main__":
    main()
