"""The loader: padding, how long a start takes at 1 M and 10 M samples, its state, and steps that wait for data.

    python tests/benchmarks/loader.py [--samples 1000000 10000000] [--steps 80]

The index is a real one of all columns, without shards; the waiting is that of the tiny backbone stage, in one process,
on synthetic speech. Processor time stands beside wall time, and the load of the machine above.
"""

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import yaml
from pyarrow import parquet

from infra.manifest import parse
from models.runtime.bundle import save_bundle
from models.runtime.latents import LatentEncoder
from pipelines.packing.corpus_json import FORMAT, corpus_digest
from pipelines.packing.finish import PACKED
from pipelines.packing.layout import PACK, index_name, shard_name
from pipelines.packing.parts import index_schema
from training.data.batching import Plan, plan_of
from training.data.stream import Source, open_sources
from training.errand import Errand
from training.loop import Worker
from training.manifest import Data, StageManifest
from training.steplog import LOSSES, read_log
from training.world import World

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "training"))  # noqa: TID251 - the corpus of the training tests

from speech import build_corpus  # noqa: E402

IN_SHARD = 2500
LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", dtype=np.uint8)
DATA = Data(seconds_per_step=120.0)


def make_index(root: Path, samples: int) -> None:
    """A corpus of so many samples as a loader sees it at its start: card and index. Lengths log-normal, 1 to 30 s."""
    rng, schema = np.random.default_rng(0), index_schema()
    (root / "index").mkdir(parents=True)
    shards = []
    for first in range(0, samples // IN_SHARD, PACK):
        numbers = range(first, min(first + PACK, samples // IN_SHARD))
        with parquet.ParquetWriter(root / index_name(first // PACK), schema, **PACKED) as writer:
            for number in numbers:
                writer.write_table(rows(rng, schema))
                sha = hashlib.sha256(str(number).encode()).hexdigest()
                facts = {"sha256": sha, "index_sha256": sha, "rows_sha256": sha, "bytes": 1, "samples": IN_SHARD}
                shards.append({"name": shard_name(number), **facts})
    card = {"name": "large", "digest": corpus_digest(shards), "samples": len(shards) * IN_SHARD, "hours": 1.0}
    (root / "corpus.json").write_text(json.dumps({"format": FORMAT, **card, "licenses": [], "shards": shards}))


def rows(rng: np.random.Generator, schema: pyarrow.Schema) -> pyarrow.Table:
    """The index of one shard: keys, lengths and texts; nothing was measured of the rest."""
    letters = LETTERS[rng.integers(0, 32, (IN_SHARD, 26))].tobytes().decode()
    texts = [letters[at : at + 60] for at in range(IN_SHARD)]
    found: dict[str, Any] = {
        "key": [letters[at : at + 26] for at in range(0, len(letters), 26)],
        "seconds": rng.lognormal(np.log(8) - 0.245, 0.7, IN_SHARD).clip(1, 30),
        "text": texts,
        "text_tts": texts,
        "tier": ["gold"] * IN_SHARD,
    }
    columns = [
        pyarrow.array(found[field.name], field.type) if field.name in found else pyarrow.nulls(IN_SHARD, field.type)
        for field in schema
    ]
    return pyarrow.table(columns, schema=schema)


def start(root: Path, memory: Path) -> tuple[list[Source], float, float]:
    """Open the mixture and find the samples of a late step: the sources, wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    sources = open_sources(DATA, folders={"data": root}, needs_text=True, memory=memory)
    assert Plan(sources, 0, 120.0).step(123_456)
    return sources, time.perf_counter() - wall, time.process_time() - cpu


def starts(samples: int) -> None:
    """Print how long the first start takes, and the next ones."""
    with tempfile.TemporaryDirectory() as place:
        root, memory = Path(place) / "corpus", Path(place) / "memory"
        make_index(root, samples)
        sources, wall, cpu = start(root, memory)
        print(f"{samples:>11,} samples, first start   {wall:8.3f} s wall {cpu:8.3f} s processor")
        again = [start(root, memory)[1:] for _ in range(9)]
        for name, values in zip(("wall", "processor"), zip(*again, strict=True), strict=True):
            middle, worst = statistics.median(values), max(values)
            print(f"{'':11} resumed, of 9   {middle:8.3f} s {name}, median; {min(values):.3f} to {worst:.3f}")
        print(f"{'':11} padding {padding(sources):.2%} of 120 s micro-batches, by whole patches and the longest")


def padding(sources: list[Source], *, steps: int = 300) -> float:
    """Part of what a network sees that is not audio, over micro-batches of about 120 s."""
    plan, real, padded = Plan(sources, 0, 960.0), 0.0, 0
    seconds = np.asarray(sources[0].corpus.seconds)
    for step in range(steps):
        for share in plan.share(step, rank=0, world=1, accumulation=8):
            real += float(sum(seconds[pick.number] for pick in share.picks))
            padded += max(map(plan.lengths, share.picks)) * len(share.picks)
    return 1 - real / (padded * 0.16)


def waiting(steps: int) -> None:
    """Print what part of its step time the tiny backbone stage waits for data, without and with stored latents."""
    from training.start import starting_bundle

    manifest = yaml.safe_load((ROOT / "manifests/train/tiny/backbone_stage2.yaml").read_text(encoding="utf-8"))
    changes = {"engine": {"name": "plain"}, "launcher": "in_process", "workers": 1, "steps": steps}
    rare = {"save_every": steps, "validate_every": 10 * steps, "sample_every": 10 * steps, "try_heaviest": False}
    stage = parse(StageManifest, {**manifest, **changes, **rare, "model": "tiny"}, where="benchmark")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bundle = starting_bundle(stage, start_from=None)
        wide = bundle.config.latent_dim
        import torch

        bundle.latent_mean_D, bundle.latent_var_D = torch.zeros(wide), torch.ones(wide)
        save_bundle(bundle, folder / "bundle")
        for name, encoder in (("encoded", None), ("stored", LatentEncoder(folder / "bundle"))):
            corpus = build_corpus(folder / name, samples=200, untexted=0, longest=30, encoder=encoder)
            work = folder / f"work-{name}"
            work.mkdir()
            (work / "attempt").write_text("a")
            errand = Errand(stage, {"data": str(corpus)}, str(folder / "bundle"), str(work), str(work / "out"), "a")
            worker = Worker(errand, World(), print)
            worker.train()
            state = len(json.dumps({"seed": stage.seed, "step": steps}))
            first, *lines = [line for line in read_log(work / LOSSES) if "losses" in line]
            spent = sum(line["seconds"] for line in lines)
            waited = sum(line["waited"] for line in lines) / spent
            audio = sum(line["audio_seconds"] for line in lines)
            print(
                f"latents {name:8} waited {waited:7.3%} of {spent / len(lines):.3f} s a step ({audio / spent:.1f} s of "
                f"audio a second); the first step waited {first['waited']:.3f} s; "
                f"seed and step, all that its loader remembers, are {state} bytes"
            )
            assert plan_of(stage, worker.plan.sources).step(3) == worker.plan.step(3)


def main() -> None:
    """Print everything."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--samples", type=int, nargs="*", default=[1_000_000, 10_000_000])
    words.add_argument("--steps", type=int, default=80)
    args = words.parse_args()
    print("load", " ".join(f"{value:.1f}" for value in os.getloadavg()))
    for samples in args.samples:
        starts(samples)
    if args.steps:
        waiting(args.steps)
    print("load", " ".join(f"{value:.1f}" for value in os.getloadavg()))


if __name__ == "__main__":
    main()
