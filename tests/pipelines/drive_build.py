"""A driver that a test can kill: builds a small corpus on a Ray cluster that is there, and prints its digest.

`drive_build.py ADDRESS CATALOG FOLDER`: the catalog is a folder with recordings.jsonl; FOLDER gets `out` and `work`.
"""

import sys
from pathlib import Path
from typing import Any

from infra.cluster import Cluster, ClusterManifest
from infra.journal import About, JournalRun
from infra.manifest import parse
from infra.storage import empty_folder
from infra.workflow.node import Job, Made
from pipelines.build import run
from pipelines.manifest import CorpusManifest

MANIFEST: dict[str, Any] = {
    "name": "killed",
    "language": "en",
    "license": "CC0",
    "transforms": ["probe", "segment", "language", {"name": "transcribe", "routes": {}}, "loudness", "bandwidth"],
    "keep": ["duration", "has_text"],
    "shards": {"soft_mb": 0.3},
    "units": {"max_recordings": 1},
    "errors": {"max_failed_share": 0.5, "max_worker_deaths": 1000},
    "workers": 2,
}


def build(address: str, catalog: Path, folder: Path) -> str:
    """The digest of the corpus in `folder`/out."""
    empty_folder(folder / "out")
    (folder / "work").mkdir(parents=True, exist_ok=True)
    with Cluster(ClusterManifest(address=address, cpus=2, object_store_mb=100)) as cluster:
        job = Job(
            name="killed",
            manifest=parse(CorpusManifest, MANIFEST, where="killed"),
            inputs={"recordings": Made("recordings", "recordings", catalog, "0" * 32, "0" * 32, "0" * 32)},
            out=folder / "out",
            work=folder / "work",
            run=JournalRun(folder / "journal", About("0" * 32, "killed", "test", "corpus")),
            connect=cluster.connect,
            attempt=1,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        return run(job).digest


if __name__ == "__main__":
    print(build(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])), flush=True)
